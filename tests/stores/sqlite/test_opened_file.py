from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_keys_server.stores.sqlite.opened_file import OpenedFile

GROWN = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a log beside it."""
    database = tmp_path / "keys.db"
    database.write_bytes(b"x" * 100)
    log_of(database).write_bytes(b"x" * 200)
    return database


def log_of(path: Path) -> Path:
    return path.with_name("keys.db-wal")


def cut_short(path: Path, to: int) -> None:
    with path.open("rb+") as file:
        file.truncate(to)


@pytest.mark.parametrize("notices", [OpenedFile.check_beside, OpenedFile.remember_sizes], ids=["a look", "a write"])
def test_a_log_is_measured_by_the_longest_that_it_was(path: Path, notices: Callable[[OpenedFile], None]) -> None:
    opened = OpenedFile(path)
    log_of(path).write_bytes(b"x" * GROWN)
    notices(opened)
    opened.check_beside()
    cut_short(log_of(path), GROWN - 1)
    for _ in range(2):  # for good, because whoever writes next makes it longer again
        with pytest.raises(OSError, match="keys.db-wal was made shorter.*revoke again"):
            opened.check_beside()
        log_of(path).write_bytes(b"x" * 2 * GROWN)


def test_a_write_after_a_log_was_cut_short_does_not_make_that_right(path: Path) -> None:
    opened = OpenedFile(path)
    cut_short(log_of(path), 100)
    opened.remember_sizes()
    with pytest.raises(OSError, match="made shorter"):
        opened.check_beside()


def test_what_is_beside_it_is_looked_at_twice_a_second_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mcp_keys_server.stores.sqlite.opened_file.monotonic", lambda: now[0])
    opened = OpenedFile(path)
    log_of(path).unlink()
    now[0] = 100.49
    opened.check()
    now[0] = 100.5
    with pytest.raises(OSError, match="keys.db-wal was removed or replaced"):
        opened.check()


def test_a_database_that_is_replaced_or_emptied_is_noticed_at_once(path: Path) -> None:
    opened = OpenedFile(path)
    opened.check()
    cut_short(path, 0)
    with pytest.raises(OSError, match="is empty"):
        opened.check()
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(b"x" * 100)
    with pytest.raises(OSError, match="was replaced"):
        opened.check()
