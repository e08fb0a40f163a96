"""What becomes of the files of an SQLite database by other hands."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

PAGE: Final = 4096
Damage = Callable[[Path], None]


def beside(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)


def checkpoint(path: Path) -> None:
    """Have all that was written in the file itself, as far as nobody reads."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")


def copied(path: Path) -> Path:
    copy = path.with_name("copy.db")
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    return copy


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    copied(path).replace(path)


def folder_renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def log_removed(path: Path) -> None:
    beside(path, "-wal").unlink()


def log_emptied(path: Path) -> None:
    os.truncate(beside(path, "-wal"), 0)


def log_cut_off(path: Path) -> None:
    log = beside(path, "-wal")
    os.truncate(log, log.stat().st_size - 1)


def log_replaced(path: Path) -> None:
    log = beside(path, "-wal")
    copy = log.with_name("copy")
    copy.write_bytes(log.read_bytes())
    copy.replace(log)


def index_removed(path: Path) -> None:
    beside(path, "-shm").unlink()


def of_zeros(path: Path) -> None:
    _overwrite(path, bytes)


def of_ones(path: Path) -> None:
    _overwrite(path, lambda size: b"\xff" * size)


def of_noise(path: Path) -> None:
    _overwrite(path, os.urandom)


def cut_off(path: Path) -> None:
    checkpoint(path)
    os.truncate(path, PAGE)


def _overwrite(path: Path, content: Callable[[int], bytes]) -> None:
    """All pages but the first, which tells what the file is."""
    checkpoint(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(content(size - PAGE))


BESIDE: Final = (log_removed, log_replaced, index_removed)
GONE: Final = (removed, replaced, folder_renamed, emptied, log_emptied, log_cut_off, *BESIDE)
"""What is noticed whatever is asked."""
DAMAGED: Final = (of_zeros, of_ones, of_noise, cut_off)
"""What is noticed by who reads it."""
