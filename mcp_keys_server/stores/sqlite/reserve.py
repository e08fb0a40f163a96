"""Room on the disk that is kept for the moment in which it is full and a key has to be ended."""

import logging
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

RESERVED_BYTES: Final = 512 * 1024
"""Enough for twenty revocations."""
_AT_A_TIME: Final = 16 * 1024
# What somebody else has put there is no file, perhaps: a link is not followed, and for a reader of a pipe nobody waits.
_TO_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK


class Reserve:
    """A file beside the database that is removed when there is no other room, and made again of what is left of it.

    Whatever else fills the disk may be faster than the revocation that it was removed for; then that fails after all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.reserve")
        self.is_whole = False
        self._is_told = False

    def keep(self) -> None:
        """See to it that it is there, as far as there is room for it. What is no file is left alone, and said once."""
        with suppress(OSError):
            handle = os.open(self._path, _TO_APPEND, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                self.is_whole = _fill(file)
        if not (self.is_whole or self._is_told) and self._is_no_file():
            self._is_told = True
            logger.warning(
                "%s: it is not a file; remove it, or on a full disk there is no room to end keys", self._path
            )

    def _is_no_file(self) -> bool:
        with suppress(OSError):
            return not stat.S_ISREG(self._path.lstat().st_mode)
        return False

    def give_up(self) -> bool:
        """Whether there is more room now."""
        self.is_whole = False
        with suppress(OSError):
            self._path.unlink()
            return True
        return False


def _fill(file: FileIO) -> bool:
    """Whether it is one that can be."""
    handle = file.fileno()
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return False
    while os.fstat(handle).st_size < RESERVED_BYTES:
        file.write(os.urandom(_AT_A_TIME))  # which no file system compresses
    return True
