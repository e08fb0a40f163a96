"""A live database backed up."""

import re
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mcp_keys_server.stores.sqlite import backup as sqlite_backup
from mcp_keys_server.stores.sqlite import file as sqlite_file
from tests.cli.runs import Run, created
from tests.databases import Database, SqliteDatabase, needs_postgres, postgres_url
from tests.running_server import PROGRAM, environment


@pytest.fixture
def kind() -> str:
    return "sqlite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "keys.db"


pytestmark = pytest.mark.usefixtures("ada")


def test_a_backup_is_one_private_file_that_is_the_database_as_it_was(run: Run, database: Database, file: Path) -> None:
    assert isinstance(database, SqliteDatabase)
    key = created(run)
    before = database.path.read_bytes()
    done = run("database", "backup", str(file))
    assert (done.code, done.out, done.err) == (0, run("events", "head").out, "")
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert database.path.read_bytes() == before
    run("keys", "revoke", key["key_id"])
    assert run("keys", "verify", stdin=key["key"]).code == 1
    assert run("keys", "verify", "--database", str(file), stdin=key["key"]).code == 0
    assert run("events", "verify", "--database", str(file)).out == done.out


def test_an_older_backup_that_is_put_back_is_noticed(run: Run, database: Database, file: Path, tmp_path: Path) -> None:
    assert isinstance(database, SqliteDatabase)
    key = created(run)
    run("database", "backup", str(file))
    run("keys", "revoke", key["key_id"])
    head = str(tmp_path / "head")
    assert run("events", "verify", "--head-file", head).code == 0
    file.replace(database.path)
    assert run("keys", "verify", stdin=key["key"]).code == 0
    noticed = run("events", "verify", "--head-file", head)
    assert noticed.code == 1
    assert "an older database was put in its place" in noticed.err


WRITER = """
import sys
import anyio
from mcp_keys_server import RequestedGrant, open_key_ring

async def main():
    async with open_key_ring(sys.argv[1], bcrypt_cost=4) as ring:
        while True:
            record, _ = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
            print(record.key_id, flush=True)

anyio.run(main)
"""


@contextmanager
def writing(database: Database, writers: int) -> Iterator[Callable[[int], list[str]]]:
    """Processes that create keys all the time. Waits for so many more, and gives the ids of all that were confirmed."""
    confirmed: list[str] = []
    one_more = threading.Semaphore(0)

    def read(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                confirmed.append(line.strip())
                one_more.release()

    def wait(more: int) -> list[str]:
        for _ in range(more):
            assert one_more.acquire(timeout=60)
        return list(confirmed)

    command = [PROGRAM[0], "-c", WRITER, str(database)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(writers)
    ]
    readers = [threading.Thread(target=read, args=[process]) for process in processes]
    for reader in readers:
        reader.start()
    try:
        yield wait
    finally:
        for process, reader in zip(processes, readers, strict=True):
            process.kill()
            process.wait()
            reader.join()


def test_a_backup_while_others_write_has_all_that_was_confirmed_before(
    run: Run, database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_backup, "PAGES_AT_A_TIME", 1)
    with writing(database, writers=2) as wait:
        for number in range(5):
            before = set(wait(10))
            backup = SqliteDatabase(file.with_name(f"{number}.db"))
            done = run("database", "backup", str(backup))
            assert done.code == 0, done.err
            assert before <= {key_id for (key_id,) in backup.sql("SELECT key_id FROM keys")}
            assert run("events", "verify", "--database", str(backup)).out == done.out


def test_a_file_that_is_there_is_replaced_only_by_force(run: Run, file: Path) -> None:
    file.write_text("something dear")
    refused = run("database", "backup", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert "exists; name another file, or replace it with --force" in refused.err
    assert file.read_text() == "something dear"
    assert run("database", "backup", str(file), "--force").code == 0
    assert run("events", "verify", "--database", str(file)).code == 0


def test_a_file_that_comes_there_meanwhile_is_not_replaced(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = sqlite_backup._copy

    def slowly(*arguments: object) -> None:
        copy(*arguments)  # type: ignore[arg-type]
        file.write_text("something dear")

    monkeypatch.setattr(sqlite_backup, "_copy", slowly)
    refused = run("database", "backup", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert "cannot be written: File exists" in refused.err
    assert file.read_text() == "something dear"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (".", "is a folder; name a file in it"),
        ("nowhere/keys.db", "cannot be written: No such file or directory"),
        ("../data/keys.db", "is the database itself"),
        ("../data/keys.db-wal", "is the database itself"),
        ("../data/keys.db-shm", "is the database itself"),
        ("../data/keys.db-journal", "is the database itself"),
    ],
)
def test_where_no_backup_can_be_is_named(run: Run, database: Database, file: Path, place: str, sentence: str) -> None:
    assert isinstance(database, SqliteDatabase)
    before = database.path.read_bytes()
    refused = run("database", "backup", str(file.parent / place), "--force")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert sentence in refused.err
    assert database.path.read_bytes() == before
    assert list(file.parent.iterdir()) == []


def test_of_a_broken_ledger_or_lost_rows_no_backup_is_made(run: Run, database: Database, file: Path) -> None:
    created(run)
    database.sql("UPDATE secrets SET key_id = 'key_0000000000000000'")
    lost = run("database", "backup", str(file))
    assert lost.code == 1
    assert "was not made, because the database is damaged: a row of secrets belongs to none of keys" in lost.err
    database.sql("DELETE FROM secrets")
    database.tamper("UPDATE events SET detail = 'x' WHERE number = 1")
    broken = run("database", "backup", str(file))
    assert (broken.code, broken.out) == (1, "")
    assert "the ledger is broken: entry 1 was changed" in broken.err
    assert list(file.parent.iterdir()) == []


def test_a_database_that_is_locked_is_a_sentence(
    run: Run, database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(database, SqliteDatabase)
    monkeypatch.setattr(sqlite_backup, "SECONDS_TO_WAIT_FOR_A_WRITER", 0)
    schema_version = sqlite_file.schema_version
    with closing(sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)) as other:

        def lock(path: Path) -> int:
            found = schema_version(path)
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
            return found

        monkeypatch.setattr(sqlite_file, "schema_version", lock)
        refused = run("database", "backup", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert "the backup cannot be made: database is locked" in refused.err
    assert list(file.parent.iterdir()) == []


@needs_postgres
def test_for_postgresql_the_command_is_named_that_makes_one(run: Run, file: Path) -> None:
    url = re.sub(r"//(\w+)@", r"//\1:passw0rd@", postgres_url())
    refused = run("database", "backup", str(file), "--database", f"{url}{'&' if '?' in url else '?'}schema=ours")
    assert (refused.code, refused.out) == (1, "")
    shown = postgres_url().partition("?")[0]
    assert f"run: pg_dump --format=custom --schema=ours --file={file} {shown}\n" in refused.err
    assert not file.exists()
