"""The database file while it is open: still the one that was opened, with what belongs to it."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

SECONDS_BETWEEN_LOOKS: Final = 0.5
_BESIDE: Final = ("-wal", "-shm")
"""How SQLite calls what it keeps beside a database that is open."""


class OpenedFile:
    """The file under its name, and what SQLite keeps beside it, as they were when they were opened.

    SQLite goes on with files that were removed, replaced or made shorter as if nothing had happened: what is written
    then is lost, and what other processes write is not seen. While it has them open, it makes none of them shorter.
    """

    def __init__(self, path: Path) -> None:
        """While a connection is open that has read from it: the files beside it stay as long as there is one."""
        self._name = os.fspath(path)
        self._identity = _identity(os.stat(self._name))  # noqa: PTH116 - see below
        target = os.path.realpath(self._name)  # because SQLite keeps nothing beside a link
        names = (target + part for part in _BESIDE)
        abouts = {name: os.stat(name) for name in names if os.path.lexists(name)}  # noqa: PTH116
        self._beside = {name: _identity(about) for name, about in abouts.items()}
        self._longest = {name: about.st_size for name, about in abouts.items()}
        self._look_at = monotonic() + SECONDS_BETWEEN_LOOKS

    def check(self) -> None:
        """At the files beside it, there is a look twice a second.

        Raises:
            OSError: It is not there any more, or empty, or another one is.
        """
        about = os.stat(self._name)  # noqa: PTH116 - in the way of every request, and a Path makes it twice as long
        if (about.st_dev, about.st_ino) != self._identity:
            raise OSError(f"{self._name} was replaced by another file; start this program again to use that one")
        if not about.st_size:
            raise OSError(f"{self._name} is empty, so something else emptied it; restore a backup")
        if monotonic() >= self._look_at:
            self.check_beside()

    def check_beside(self) -> None:
        """
        Raises:
            OSError: Of the files beside it, one is not there any more or shorter than it was, or another one is.
        """
        for name, identity in self._beside.items():
            if not os.path.lexists(name) or _identity(about := os.stat(name)) != identity:  # noqa: PTH116 - as above
                raise OSError(
                    f"{name} was removed or replaced, which belongs to the database; start this program again"
                )
            if about.st_size < self._longest[name]:
                self._longest[name] = sys.maxsize  # because whoever writes next makes it as long again, with a hole
                raise OSError(
                    f"{name} was made shorter, with which the last changes of the database are lost; start this "
                    "program again, and revoke again what was revoked last"
                )
            self._longest[name] = about.st_size
        self._look_at = monotonic() + SECONDS_BETWEEN_LOOKS

    def remember_sizes(self) -> None:
        """After a write, because what was written may be gone before the next look."""
        for name, longest in self._longest.items():
            with suppress(OSError):  # the write is done; the next look says what is wrong
                self._longest[name] = max(longest, os.stat(name).st_size)  # noqa: PTH116 - as above


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
