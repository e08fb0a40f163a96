"""Where the proof secret comes from, and what becomes of it when it cannot be used."""

import asyncio
import logging
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mcp_keys_server import InvalidFieldError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.setting_rules import is_root
from mcp_keys_server.stores.proof_secret import _trouble, given_secret, parse_secret, secret_beside
from mcp_keys_server.stores.sqlite.backup import back_up
from mcp_keys_server.stores.whole.copying import copy_database
from tests.databases import SqliteDatabase
from tests.running_server import environment
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = pytest.mark.anyio

SECRET = b"s" * 32


def file_of(database: SqliteDatabase) -> Path:
    return database.path.with_name(f"{database.path.name}.proof-secret")


async def test_the_first_who_opens_an_sqlite_file_makes_a_private_secret_beside_it(
    sqlite_world: World, sqlite_database: SqliteDatabase
) -> None:
    path = file_of(sqlite_database)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert given_secret(path) == parse_secret(text) == secret_beside(sqlite_database.path)
    assert path.read_text() == text
    for kept in (text.strip().encode(), parse_secret(text)):
        assert kept not in sqlite_world.stored_bytes()
    assert sqlite_database.files() == [
        "keys.db",
        "keys.db-shm",
        "keys.db-wal",
        "keys.db.proof-secret",
        "keys.db.reserve",
    ]


async def test_what_is_beside_the_file_is_used_after_a_restart(sqlite_world: World, bcrypt_calls: list[str]) -> None:
    _, key = await sqlite_world.key()
    async with open_key_ring(sqlite_world.address, bcrypt_cost=CHEAPEST_COST, clock=sqlite_world.clock) as restarted:
        await restarted.verifier.verify(key.reveal())
    assert bcrypt_calls == ["hashpw"]


async def test_a_lost_file_costs_one_bcrypt_for_each_key_and_is_made_anew(
    sqlite_world: World, sqlite_database: SqliteDatabase, bcrypt_calls: list[str]
) -> None:
    _, key = await sqlite_world.key()
    before = file_of(sqlite_database).read_text()
    file_of(sqlite_database).unlink()
    bcrypt_calls.clear()
    for _ in range(2):
        async with open_key_ring(sqlite_world.address, bcrypt_cost=CHEAPEST_COST, clock=sqlite_world.clock) as ring:
            await ring.verifier.verify(key.reveal())
        assert bcrypt_calls == ["checkpw"]
    assert file_of(sqlite_database).read_text() != before


async def test_on_postgresql_there_is_none_unless_it_is_given(world: World, kind: str) -> None:
    _, key = await world.key()
    assert (world.sql("SELECT proof FROM secrets") == [(None,)]) is (kind == "postgres")
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        assert (await ring.verifier.verify(key.reveal())).user_id == "ada"
    assert (world.sql("SELECT proof FROM secrets") == [(None,)]) is (kind == "postgres")


OPENS = """
import asyncio, sys
from mcp_keys_server import open_key_ring
async def run():
    async with open_key_ring(sys.argv[1], bcrypt_cost=4):
        print(open(sys.argv[1] + ".proof-secret").read())
asyncio.run(run())
"""


def test_processes_that_start_at_once_use_the_one_that_was_first(sqlite_database: SqliteDatabase) -> None:
    sqlite_database.folder.mkdir()
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS, str(sqlite_database)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        for _ in range(4)
    ]
    printed = {process.communicate()[0].strip() for process in starting}
    assert [process.returncode for process in starting] == [0] * 4
    assert printed == {file_of(sqlite_database).read_text().strip()}
    assert sqlite_database.files() == sqlite_database.files_at_rest()


async def test_what_root_makes_belongs_to_whose_the_database_is(sqlite_database: SqliteDatabase) -> None:
    async with open_world(sqlite_database):
        pass
    file_of(sqlite_database).unlink()
    owner = 12_345 if is_root() else os.getuid()
    os.chown(sqlite_database.path, owner, -1)
    secret_beside(sqlite_database.path)
    assert file_of(sqlite_database).stat().st_uid == owner


def spoil(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "is a folder":
            path.mkdir(mode=0o700)
        case "leads nowhere":
            path.symlink_to(path.with_name("nowhere"))
        case _:
            texts = {"is empty": "", "is cut off": "ab" * 31, "is too long": "ab" * 33, "is no text": "\udcff"}
            path.touch(mode=0o600)
            path.write_text(texts.get(how, "ab" * 32), errors="surrogateescape")
            path.chmod(0o640 if how == "can be read by others" else 0o600)


SPOILT = {
    "is a folder": "not a file; remove it",
    "leads nowhere": "cannot be used: No such file or directory; make it and its folder readable and writable",
    "is empty": "holds no proof secret; remove it, and a new one is made",
    "is cut off": "holds no proof secret; remove it",
    "is too long": "holds no proof secret; remove it",
    "is no text": "holds no proof secret; remove it",
    "can be read by others": "can be read by other users of this machine; run: chmod 600 '",
}


@pytest.mark.parametrize(("how", "sentence"), SPOILT.items(), ids=SPOILT)
async def test_a_file_that_cannot_be_used_costs_speed_and_a_line_of_the_log_and_never_a_start(
    sqlite_world: World, sqlite_database: SqliteDatabase, caplog: pytest.LogCaptureFixture, how: str, sentence: str
) -> None:
    path = file_of(sqlite_database)
    spoil(path, how)
    caplog.clear()
    async with open_key_ring(sqlite_world.address, bcrypt_cost=CHEAPEST_COST, clock=sqlite_world.clock) as ring:
        _, key = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
        await ring.verifier.verify(key.reveal())
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sentence in warned.getMessage()
    assert str(path) in warned.getMessage()
    assert "ab" * 31 not in warned.getMessage()
    assert sqlite_world.sql("SELECT proof FROM secrets") == [(None,)]


async def test_neither_a_copy_nor_a_backup_has_the_secret_and_both_have_the_proofs(
    sqlite_database: SqliteDatabase, tmp_path: Path
) -> None:
    async with open_world(sqlite_database) as world:
        await world.key()
        proofs = world.sql("SELECT proof FROM secrets")
    assert proofs != [(None,)]
    copy, backup = SqliteDatabase(tmp_path / "copy" / "keys.db"), SqliteDatabase(tmp_path / "backup" / "keys.db")
    backup.folder.mkdir()
    await copy_database(sqlite_database.path, copy.path)
    await back_up(sqlite_database.path, backup.path, replace=False, tell=lambda *_: None)
    text = file_of(sqlite_database).read_text().strip()
    for other in (copy, backup):
        assert other.sql("SELECT proof FROM secrets") == proofs
        assert other.files() == ["keys.db"]
        for kept in (text.encode(), parse_secret(text)):
            assert kept not in other.stored_bytes()


async def test_a_secret_that_is_given_is_used_as_bytes_or_as_a_file(
    world: World, tmp_path: Path, bcrypt_calls: list[str]
) -> None:
    path = tmp_path / "shared"
    path.write_text(f"  {SECRET.hex().upper()}\r\n")
    path.chmod(0o444)  # as those are that are mounted into a container
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, proof_secret=SECRET) as ring:
        _, key = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, proof_secret=path) as ring:
        await ring.verifier.verify(key.reveal())
    assert bcrypt_calls == ["hashpw"]


@pytest.mark.parametrize("given", [b"", b"s" * 31, b"s" * 33])
async def test_given_bytes_that_are_no_secret_open_nothing(sqlite_database: SqliteDatabase, given: bytes) -> None:
    with pytest.raises(InvalidFieldError, match="^proof_secret: 32 random bytes$"):
        async with open_key_ring(sqlite_database.path, proof_secret=given):
            raise AssertionError
    assert not sqlite_database.is_there()


async def test_a_given_file_that_cannot_be_used_is_an_error_that_tells_nothing_of_it(
    sqlite_database: SqliteDatabase, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.write_text("hunter2")
    for path, sentence in (
        (tmp_path / "none", "^proof_secret_file: it cannot be read: No such file or directory$"),
        (tmp_path, "^proof_secret_file: it cannot be read: Is a directory$"),
        (bad, "^proof_secret_file: the file has to hold 64 hexadecimal digits, as 'openssl rand -hex 32' prints"),
    ):
        with pytest.raises(InvalidFieldError, match=sentence) as refused:
            async with open_key_ring(sqlite_database.path, proof_secret=path):
                raise AssertionError
        assert "hunter2" not in str(refused.value)
    assert not sqlite_database.is_there()


async def test_many_who_open_it_in_one_process_have_one_secret(sqlite_database: SqliteDatabase) -> None:
    async with open_world(sqlite_database):
        pass
    file_of(sqlite_database).unlink()
    found = await asyncio.gather(*(asyncio.to_thread(secret_beside, sqlite_database.path) for _ in range(8)))
    assert len(set(found)) == 1
    assert sqlite_database.files() == sqlite_database.files_at_rest()


def test_a_draft_that_somebody_swaps_gives_them_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, other = tmp_path / "keys.db", tmp_path / "another's"
    for path in (database, other):
        path.touch()
    before = other.stat().st_ctime_ns
    make = tempfile.mkstemp

    def make_and_swap(prefix: str, dir: Path) -> tuple[int, str]:  # noqa: A002 - as the real one names it
        handle, name = make(prefix=prefix, dir=dir)
        Path(name).unlink()
        Path(name).symlink_to(other)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", make_and_swap)
    secret_beside(database)
    assert other.stat().st_ctime_ns == before


def test_a_secret_that_another_user_put_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.db.proof-secret"
    path.touch(0o600)
    if is_root():
        os.chown(path, 12_345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "another user's" in str(_trouble(path, Path("/")))  # of root, beside what is root's


def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("ab" * 32)
    assert given_secret(str(path)) == bytes.fromhex("ab" * 32)
