"""A small disk that is filled and freed again: a file system in memory, or, where none may be mounted, a limit to the
length of all files that this process writes.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SIZE: Final = 4 * 2**20
PAGE: Final = 4096


@dataclass
class MountedDisk:
    """It is full when nothing fits any more, and what is removed makes room."""

    folder: Path
    gives_room: bool = True
    """To whoever removes something."""

    def fill(self) -> None:
        with (self.folder / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                return

    def free(self) -> None:
        (self.folder / "filling").unlink()


@dataclass
class LimitedDisk:
    """Files as long as the shortest that grows cannot grow any more: to SQLite it is a disk that fails to write."""

    folder: Path
    limits: tuple[int, int]
    gives_room: bool = False

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, self.limits[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


Disk = MountedDisk | LimitedDisk


@contextmanager
def a_small_disk(folder: Path, *, mounted: bool = True) -> Iterator[Disk]:
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", os.fspath(folder)]
    if mounted and _succeeds(command):
        try:
            yield MountedDisk(folder)
        finally:
            assert _succeeds(["umount", os.fspath(folder)])
        return
    disk = LimitedDisk(folder, resource.getrlimit(resource.RLIMIT_FSIZE))
    try:
        yield disk
    finally:
        disk.free()


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
