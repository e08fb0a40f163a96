import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import bcrypt
import pytest

from mcp_keys_server import ApiKey, Grant, KeyRecord, UnusableDatabaseError, UserRecord, open_key_ring
from mcp_keys_server.core.checksum_secret_store import NeedOfSecret
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import KnownSecret, Person
from mcp_keys_server.setting_rules import is_root
from mcp_keys_server.stores.sql.checksum_secrets import with_digest
from mcp_keys_server.stores.sql.migration_scripts import migrations
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite.connections import open_connections
from tests.databases import SqliteDatabase
from tests.mints import mint_of
from tests.replacing import replace
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
def kind() -> str:
    return "sqlite"


async def test_a_new_database_is_private_in_a_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    previous = os.umask(0)
    try:
        async with open_world(SqliteDatabase(folder / "keys.db")) as world:
            await world.key()
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}
    finally:
        os.umask(previous)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {"keys.db", "keys.db-wal", "keys.db-shm", "keys.db.proof-secret", "keys.db.reserve"}
    assert modes == dict.fromkeys(names, 0o600)


async def test_the_database_says_whose_it_is_and_keeps_to_safe_settings(world: World) -> None:
    async def asked(pragma: str) -> object:
        async with open_connections(Path(world.address)) as connections:
            rows = await connections._writer.execute_fetchall(f"PRAGMA {pragma}")
        return next(iter(rows))[0]

    assert await asked("application_id") == sqlite_file.APPLICATION_ID
    assert await asked("user_version") == 7
    assert await asked("journal_mode") == "wal"
    assert await asked("synchronous") == 2  # FULL
    assert await asked("foreign_keys") == 1
    assert await asked("busy_timeout") == 5_000


async def test_a_database_is_opened_again_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a folder with ? and # and %41" / "keys.db"
    async with open_world(SqliteDatabase(path)) as world:
        record, key = await world.key()
    async with open_world(SqliteDatabase(path)) as again:
        assert (await again.ring.verifier.verify(key.reveal())).key_id == record.key_id


async def test_many_who_start_at_once_share_one_database(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(anyio.to_thread.run_sync, lambda: sqlite_file.prepare(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.db"]
    async with open_world(SqliteDatabase(path)) as one, open_world(SqliteDatabase(path)) as other:
        _, key = await one.key()
        await other.ring.verifier.verify(key.reveal())


def make_empty(path: Path) -> None:
    path.touch(0o600)


def make_text(path: Path) -> None:
    path.write_text("Dear diary, today I wrote no database. " * 100)
    path.chmod(0o600)


def make_folder(path: Path) -> None:
    path.mkdir(0o700)


def make_anothers(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.commit()
    path.chmod(0o600)


def make_readable(path: Path) -> None:
    sqlite_file.prepare(path)
    path.chmod(0o644)


def make_newer(path: Path) -> None:
    sqlite_file.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def make_folder_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("in the way")


def make_dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / "keys.db")


def make_damaged(path: Path) -> None:
    sqlite_file.prepare(path)
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)


def make_without_secret(path: Path) -> None:
    sqlite_file.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta")
        connection.commit()


def make_with_damaged_secret(path: Path) -> None:
    sqlite_file.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE meta SET value = zeroblob(length(value))")
        connection.commit()


UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (make_empty, "is empty.*restore a backup, or remove it"),
    "text": (make_text, "no database at all.*--database"),
    "a folder": (make_folder, "is not a file.*--database"),
    "another program's": (make_anothers, "of another program.*--database"),
    "readable by others": (make_readable, "can be read by other users.*chmod 600"),
    "of a newer version": (make_newer, "made by a newer mcp-keys-server .*99.*update"),
    "below a file": (make_folder_a_file, "cannot be used.*--database"),
    "a dangling link": (make_dangling, "cannot be used|cannot be opened"),
    "without its secret": (make_without_secret, "lost its checksum secret; restore a backup"),
    "with a damaged secret": (make_with_damaged_secret, "lost its checksum secret; restore a backup"),
    "damaged": (make_damaged, "damaged.*restore a backup"),
}


@pytest.mark.parametrize(("make", "sentence"), UNUSABLE.values(), ids=UNUSABLE)
async def test_what_cannot_be_used_is_left_alone_with_a_sentence(
    tmp_path: Path, make: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / "folder" / "keys.db"
    path.parent.mkdir(0o700)
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UnusableDatabaseError, match=sentence):
        async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    assert before == (path.read_bytes() if path.is_file() else None)


async def leave_log(database: SqliteDatabase) -> Path:
    """That of a server which was killed after it had added eve, who is not in the file itself."""
    sqlite_file.prepare(database.path)
    before = database.path.read_bytes()
    log = database.path.with_name("keys.db-wal")
    async with open_key_ring(database.path, bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user("eve")
        left = log.read_bytes()
    database.path.write_bytes(before)
    log.touch(0o600)
    log.write_bytes(left)
    return log


def made_a_link(log: Path) -> None:
    log.rename(log.with_name("hers"))
    log.symlink_to("hers")


def made_a_pipe(log: Path) -> None:
    log.unlink()
    os.mkfifo(log, 0o600)


def made_a_folder(log: Path) -> None:
    log.unlink()
    log.mkdir(0o700)


def opened_to_writers(log: Path) -> None:
    log.chmod(0o622)


def opened_to_readers(log: Path) -> None:
    log.chmod(0o640)


FOREIGN = {
    "a link": (made_a_link, "it is not a file; remove it"),
    "a pipe": (made_a_pipe, "it is not a file; remove it"),
    "a folder": (made_a_folder, "it is not a file; remove it"),
    "open to writers": (opened_to_writers, "other users.*chmod 600 '.*/keys.db"),
    "open to readers": (opened_to_readers, "other users.*chmod 600 '.*/keys.db"),
}


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("part", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize(("make", "sentence"), FOREIGN.values(), ids=FOREIGN)
async def test_what_others_may_have_put_beside_a_database_is_not_taken_into_it(
    sqlite_database: SqliteDatabase,
    tmp_path: Path,
    make: Callable[[Path], None],
    sentence: str,
    part: str,
    *,
    through_a_link: bool,
) -> None:
    log = await leave_log(sqlite_database)
    make(log.replace(log.with_name(f"keys.db{part}")))
    before, path = sqlite_database.path.read_bytes(), sqlite_database.path
    if through_a_link:
        path = tmp_path / "link.db"
        path.symlink_to(sqlite_database.path)
    for use in (sqlite_file.prepare, sqlite_file.schema_version):
        with pytest.raises(UnusableDatabaseError, match=rf"/keys\.db{part} would be taken.*{sentence}"):
            use(path)
    assert sqlite_database.path.read_bytes() == before


async def test_a_log_that_was_left_is_taken_into_the_database(sqlite_database: SqliteDatabase) -> None:
    await leave_log(sqlite_database)
    async with open_key_ring(sqlite_database.path, bcrypt_cost=CHEAPEST_COST) as ring:
        assert [user.user_id for user in await ring.administration.list_users()] == ["eve"]


def test_what_another_user_put_beside_a_database_is_not_taken_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys.db-wal"
    log.touch(0o600)
    if is_root():
        os.chown(log, 12_345, -1)
    about = log.stat()
    monkeypatch.setattr(os, "geteuid", lambda: about.st_uid + 1)
    assert "another user's" in str(sqlite_file._trouble(log, about, owner=about.st_uid + 2))
    assert sqlite_file._trouble(log, about, owner=about.st_uid) is None
    monkeypatch.setattr(os, "geteuid", lambda: about.st_uid)
    assert sqlite_file._trouble(log, about, owner=about.st_uid + 2) is None


def test_what_root_left_beside_a_database_is_taken_into_it() -> None:
    about = Path("/").stat()
    assert about.st_uid == 0
    roots = os.stat_result((stat.S_IFREG | 0o600, *about[1:]))
    assert sqlite_file._trouble(Path("keys.db-wal"), roots, owner=12_345) is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the one folder that even root cannot write to")
async def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(UnusableDatabaseError, match="/proc/keys.db cannot be used.*writable"):
        async with open_key_ring(Path("/proc/keys.db"), bcrypt_cost=CHEAPEST_COST):
            raise AssertionError


async def test_a_path_that_can_be_none_is_named() -> None:
    with pytest.raises(UnusableDatabaseError, match="the path of the database cannot be one"):
        async with open_key_ring("a\0b", bcrypt_cost=CHEAPEST_COST):
            raise AssertionError


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_sqlite_that_is_too_old_is_named_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    path = tmp_path / "data" / "keys.db"
    if is_there:
        sqlite_file.prepare(path)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(UnusableDatabaseError, match=r"3\.37 or later"):
        async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    assert path.parent.exists() is is_there


def test_a_new_database_has_a_write_ahead_log_and_says_whose_it_is(tmp_path: Path) -> None:
    sqlite_file.prepare(tmp_path / "keys.db")
    with closing(sqlite3.connect(tmp_path / "keys.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA application_id").fetchone() == (sqlite_file.APPLICATION_ID,)


@pytest.mark.parametrize(("version", "is_too_old"), [((3, 36, 9), True), ((3, 37, 0), False)])
def test_the_oldest_sqlite_that_does_is_told_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, version: tuple[int, int, int], is_too_old: bool
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with pytest.raises(UnusableDatabaseError) if is_too_old else nullcontext():
        sqlite_file.prepare(tmp_path / "keys.db")


async def test_an_unfinished_beginning_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_statements", lambda _: ["CREATE TABLE half (x)", "not SQL"])
    with pytest.raises(UnusableDatabaseError):
        sqlite_file.prepare(tmp_path / "keys.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_the_schema_before_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.db"
    async with open_world(SqliteDatabase(path)) as world:
        record, _ = await world.key()
    version = len(migrations("sqlite")) + 1
    now = [*migrations("sqlite"), (version, "CREATE TABLE later (x);\nCREATE TABLE\nlatest (x);")]
    monkeypatch.setattr(sqlite_file, "migrations", lambda _: now)
    for _ in range(2):
        async with open_world(SqliteDatabase(path)) as world:
            assert (await world.ring.administration.list_keys())[0].key_id == record.key_id
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert connection.execute("SELECT count(*) FROM latest").fetchone() == (0,)


async def test_a_copy_that_lost_its_write_ahead_log_gets_one_again(world: World) -> None:
    _, key = await world.key()
    copy = Path(world.address).with_name("copy.db")
    with closing(sqlite3.connect(Path(world.address))) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)
    async with open_world(SqliteDatabase(copy)) as copied:
        await copied.ring.verifier.verify(key.reveal())
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_the_database_itself_refuses_to_undo_a_revocation(world: World) -> None:
    record, _ = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    with closing(sqlite3.connect(Path(world.address))) as connection:
        for undo in ("NULL", "'2099-01-01T00:00:00.000000+00:00'"):
            with pytest.raises(sqlite3.IntegrityError, match="never undone"):
                connection.execute(f"UPDATE keys SET revoked_at = {undo}")
        connection.execute("UPDATE keys SET use_count = 7")


async def test_the_database_itself_refuses_to_change_or_to_remove_an_entry_of_the_ledger(world: World) -> None:
    await world.key()
    head = await world.ring.administration.verify_events()
    for change, refusal in (
        ("UPDATE events SET detail = 'x'", "never changed"),
        ("DELETE FROM events", "never removed"),
    ):
        with pytest.raises(sqlite3.IntegrityError, match=refusal):
            world.sql(change)
    assert await world.ring.administration.verify_events(head) == head


async def test_the_database_itself_refuses_to_spend_a_claim_twice_or_to_change_when_it_was(world: World) -> None:
    ada = Person("ada")
    open_one = await world.ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    spent = await world.ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    spent, _ = await world.ring.manager.claim_key(ada, key_id=spent.key_id, claimed_from="192.0.2.7")
    for change in (
        "claimed_at = '2099-01-01T00:00:00.000000+00:00'",
        "claimed_at = NULL",
        "claimed_from = '198.51.100.1'",
        "lapses_at = '2099-01-01T00:00:00.000000+00:00'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="spent once"):
            world.sql(f"UPDATE claims SET {change} WHERE key_id = '{spent.key_id}'")
    world.sql(f"UPDATE claims SET lapses_at = lapses_at WHERE key_id = '{open_one.key_id}'")
    assert await world.ring.manager.find_key(ada, key_id=spent.key_id) == spent


def make_first_schema(path: Path, key: ApiKey, checksum_secret: bytes) -> None:
    """A database as the first version made it, with a user, a key and its secret."""
    noon = "2026-11-01T12:00:00.000000+00:00"
    key_hash = bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(CHEAPEST_COST)).decode()
    number, script = migrations("sqlite")[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA application_id = 0x4D4B5331")
        connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("INSERT INTO meta VALUES ('checksum_secret', ?)", (checksum_secret,))
        connection.execute("INSERT INTO users VALUES ('ada', 'ada@example.com', 'Ada', ?, NULL)", (noon,))
        connection.execute(
            "INSERT INTO keys VALUES ('key_0123456789abcdef', 'ada', 'Laptop', 'keys:read keys:write', NULL, NULL, ?, "
            "NULL, NULL, NULL, ?, 7)",
            (noon, noon),
        )
        connection.execute("INSERT INTO secrets VALUES (?, 'key_0123456789abcdef', ?, ?)", (key.prefix, key_hash, noon))
    path.chmod(0o600)


async def test_a_database_of_the_first_schema_is_brought_up_to_date_and_its_keys_are_good(tmp_path: Path) -> None:
    path, checksum_secret = tmp_path / "keys.db", with_digest(b"s" * 32)
    key = mint_of(checksum_secret).mint()
    make_first_schema(path, key, checksum_secret)
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    for _ in range(2):
        async with open_world(SqliteDatabase(path)) as world:
            principal = await world.ring.verifier.verify(key.reveal())
            record = await world.ring.manager.current_key(principal)
            assert record == KeyRecord(
                "key_0123456789abcdef",
                "ada",
                "Laptop",
                Grant(frozenset({"keys:read", "keys:write"}), None, None),
                None,
                noon,
                (KnownSecret(key.prefix, noon, last_used_at=record.secrets[0].last_used_at),),
                last_used_at=record.last_used_at,
                use_count=record.use_count,
            )
            assert record.use_count >= 7
            assert await world.ring.administration.list_users() == [UserRecord("ada", "ada@example.com", "Ada", noon)]
            assert world.sql("PRAGMA user_version") == [(7,)]
    async with open_world(SqliteDatabase(path)) as world:
        await replace(world.ring)
        assert await world.ring.administration.forget_checksum_secrets() == [NeedOfSecret("key_0123456789abcdef", None)]
        principal = await world.ring.verifier.verify(key.reveal())
        asked = await world.ring.manager.create_unclaimed_key(principal, name="x", requested=NOTHING_SPECIAL)
        _, claimed = await world.ring.manager.claim_key(principal, key_id=asked.key_id, claimed_from=None)
        await world.ring.verifier.verify(claimed.reveal())
        assert await world.ring.sessions.principal(await world.ring.sessions.begin(principal)) == principal


async def test_a_database_that_is_not_there_is_made_only_where_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "keys.db"
    with pytest.raises(UnusableDatabaseError, match="does not exist"):
        async with open_key_ring(path, create=False, bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []
