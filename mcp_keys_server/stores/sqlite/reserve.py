"""Room on the disk that is kept for the moment in which it is full and a key has to be ended."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

RESERVED_BYTES: Final = 512 * 1024
"""Enough for twenty revocations."""
_AT_A_TIME: Final = 16 * 1024


class Reserve:
    """A file beside the database that is removed when there is no other room, and made again of what is left of it.

    Whatever else fills the disk may be faster than the revocation that it was removed for; then that fails after all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.reserve")
        self.is_whole = False

    def keep(self) -> None:
        """See to it that it is there, as far as there is room for it."""
        with suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                while os.fstat(handle).st_size < RESERVED_BYTES:
                    file.write(os.urandom(_AT_A_TIME))  # which no file system compresses
            self.is_whole = True

    def give_up(self) -> bool:
        """Whether there is more room now."""
        self.is_whole = False
        with suppress(OSError):
            self._path.unlink()
            return True
        return False
