"""A disk on which what was written outlasts a loss of power if it was synced, and else by luck.

The files are real ones in a folder, so that whoever reads them sees what was written last. What is sure to be kept is
noted beside them: the content of each as of its last sync, and the names in the folder as of the folder's last sync.
"""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

SECTOR: Final = 512
"""Bytes that are written whole or not at all."""
HALF: Final = 0.5


class PowerLostError(Exception):
    """Nothing is changed any more."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes before the change of this number, counted from 1, of files whose names end so."""

    number: int
    of: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    size: int


@dataclass
class File:
    """What is in a file, under whichever names."""

    handle: int
    """Held open, so that no other file gets its number."""
    synced: bytearray
    unsynced: list[Write | Resize] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.synced, change)
        self.unsynced.clear()

    def survivor(self, chance: random.Random, kept: float) -> bytes:
        """Each change since the last sync is kept with this probability, and of the writes that are, half are torn."""
        content = bytearray(self.synced)
        for change in self.unsynced:
            if chance.random() >= kept:
                continue
            if isinstance(change, Write) and chance.random() < HALF:
                for sector in _sectors(change):
                    if chance.random() < HALF:
                        _apply(content, sector)
            else:
                _apply(content, change)
        return bytes(content)


def _apply(content: bytearray, change: Write | Resize) -> None:
    match change:
        case Write(offset, data):
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
        case Resize(size):
            del content[size:]
            content.extend(bytes(size - len(content)))


def _sectors(write: Write) -> list[Write]:
    """Its parts in each sector of the file."""
    end = write.offset + len(write.data)
    bounds = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [Write(start, write.data[start - write.offset : stop - write.offset]) for start, stop in pairwise(bounds)]


class LosingDisk:
    """Those files of a folder that are changed through this. All that is there in the beginning is synced."""

    def __init__(self, folder: Path, cut: Cut) -> None:
        self.has_power = True
        self._folder = folder
        self._cut = cut
        self._changes = 0
        self._turn = threading.RLock()
        self._files: dict[int, File] = {}
        self._synced_names = self._names()
        self._last_names: dict[str, int] = {}
        self._others: dict[int, bytes] = {}
        """What is in files that others change."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file.handle)

    def file(self, path: Path) -> File:
        """What has this name now. All that is in it when it is first asked for is synced."""
        with self._turn:
            number = path.stat().st_ino
            if number not in self._files:
                # Closed at the very end: with the first handle that is closed, a process loses its locks of a file.
                handle = os.open(path, os.O_RDONLY)
                self._files[number] = File(handle, bytearray(os.pread(handle, path.stat().st_size, 0)))
            return self._files[number]

    @contextmanager
    def changing(self, path: Path) -> Iterator[None]:
        """Around a change of this file, or of its name.

        Raises:
            PowerLostError: There is no power.
        """
        with self._turn:
            self._changes += path.name.endswith(self._cut.of)
            if self._changes == self._cut.number:
                self.lose_power()
            if not self.has_power:
                raise PowerLostError
            yield

    def sync_names(self) -> None:
        self._synced_names = self._names()

    def lose_power(self) -> None:
        with self._turn:
            if self.has_power:
                self.has_power = False
                self._last_names = self._names()
                others = {name: number for name, number in self._last_names.items() if number not in self._files}
                self._others = {number: (self._folder / name).read_bytes() for name, number in others.items()}

    def survive(self, folder: Path, chance: random.Random, kept: float) -> None:
        """Put into this folder what is there when there is power again."""
        for name in sorted(self._synced_names.keys() | self._last_names.keys()):
            synced, last = self._synced_names.get(name), self._last_names.get(name)
            number = last if synced == last or chance.random() < kept else synced
            file = self._files.get(number or 0)
            content = self._others.get(number or 0) if file is None else file.survivor(chance, kept)
            if content is not None:
                with (folder / name).open("wb") as survivor:
                    os.fchmod(survivor.fileno(), 0o600)
                    survivor.write(content)

    def _names(self) -> dict[str, int]:
        return {entry.name: entry.stat().st_ino for entry in self._folder.iterdir()}
