"""A database copied into another one."""

import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_keys_server import (
    ApiKey,
    InvalidApiKeyError,
    KeyRing,
    Refusal,
    StoreUnavailableError,
    UnusableDatabaseError,
    open_key_ring,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, CopyNotFinishedError, NoDatabaseError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.ledger import BrokenLedgerError
from mcp_keys_server.core.records import Person
from mcp_keys_server.stores.sql import tables
from mcp_keys_server.stores.whole.copying import Tell, copy_database
from tests.databases import KINDS, Database, SqliteDatabase, a_database, elsewhere
from tests.replacing import announce, replace
from tests.running_server import environment
from tests.stores.whole.lives import PINS, Lives
from tests.world import SettableClock, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one of each kind."""
    with a_database(request.param, tmp_path / "target") as empty:
        yield empty


@pytest.fixture
def sqlite_target(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(tmp_path / "target" / "keys.db")


async def refusal(ring: KeyRing, key: ApiKey) -> Refusal | None:
    try:
        await ring.verifier.verify(key.reveal())
    except InvalidApiKeyError as error:
        return error.refusal
    return None


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, times as datetimes."""
    places = {table.name: table for table in tables.TABLES}
    found = {}
    for name, table in places.items():
        statement = table.read.partition("\nFROM")[0] + f" FROM {name.rpartition(' ')[2]}"
        found[name] = sorted(table._plain(row) for row in database.sql(statement))
    return found | {"meta": sorted(database.sql("SELECT * FROM meta WHERE name <> 'schema_version'"))}


async def copy(source: Database, target: Database, **more: Any) -> Any:  # noqa: ANN401 - what copying gives
    return await copy_database(source.setting, target.setting, **more)


async def test_everything_is_in_the_copy_as_it_was_and_the_source_stays_as_it_is(
    database: Database, target: Database, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_AT_A_TIME", 3)
    before = everything(database)
    bytes_before = database.stored_bytes() if isinstance(database, SqliteDatabase) else b""
    told: list[tuple[int, int]] = []
    copied = await copy(database, target, tell=lambda *steps: told.append(steps))
    assert (copied.head, copied.was_there) == (lives.head, False)
    assert everything(target) == everything(database) == before
    assert copied.rows == {name: len(rows) for name, rows in before.items() if name != "meta"} | {
        "makers of keys": len([row for row in before["makers of keys"] if row[1] is not None])
    }
    if isinstance(database, SqliteDatabase):
        assert bytes_before == database.path.read_bytes()
    assert sorted(told) == told
    assert told[-1][0] == told[-1][1]


async def test_keys_live_on_in_the_copy(database: Database, target: Database, lives: Lives) -> None:
    await copy(database, target)
    clock = SettableClock(lives.now)
    async with open_key_ring(str(target), create=False, bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
        for key in (lives.good, lives.older, lives.newer, lives.child):
            assert await refusal(ring, key) is None
        assert await refusal(ring, lives.revoked) is Refusal.REVOKED
        assert await refusal(ring, lives.disabled) is Refusal.DISABLED
        principal = await ring.verifier.verify(lives.good.reveal())
        assert await ring.sessions.principal(lives.session) == principal
        for key_id in (lives.unclaimed_id, lives.offered_id):
            _, claimed = await ring.manager.claim_key(Person("ada"), key_id=key_id, claimed_from=None)
            assert await refusal(ring, claimed) is None
        with pytest.raises(ClaimNotOpenError):
            await ring.manager.claim_key(principal, key_id=lives.spent_id, claimed_from=None)
        _, bobs = await ring.invitations.accept(lives.invitation, claimed_from=None)
        assert (await ring.verifier.verify(bobs.reveal())).user_id == "bob"
        assert await ring.store.noted_public_url() == "https://keys.example.com"
        assert [await ring.tool_pins.pinned(alias) for alias in ("notes", "notes-2")] == [PINS, PINS]
        assert (await ring.verifier.verify(lives.newer.reveal())).grant.tools == frozenset({"keys:*", "notes:read_*"})
        clock.advance(hours=3)
        assert await refusal(ring, lives.older) is Refusal.REPLACED
        assert await refusal(ring, lives.newer) is None
        await ring.administration.revoke_key(lives.good_id, reason=None, cascade=True)
        assert await refusal(ring, lives.child) is Refusal.REVOKED
        clock.advance(days=30)
        assert await refusal(ring, lives.newer) is Refusal.EXPIRED
        await ring.administration.verify_events(lives.head)


KILLED_AT = """
import asyncio, os, signal, sys
from mcp_keys_server.stores.sql import tables
from mcp_keys_server.stores.whole.copying import Tell, copy_database
from mcp_keys_server.settings import Settings

tables.ROWS_AT_A_TIME = 2
source, target = (Settings(database=place).database for place in sys.argv[1:3])
left = int(sys.argv[3])

def tell(done, most):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(copy_database(source, target, tell))
"""


async def test_a_copy_that_was_killed_half_way_is_used_by_nobody_and_goes_on(
    database: Database, target: Database, lives: Lives
) -> None:
    for steps in (1, 8, 14, 20, 30):
        command = [sys.executable, "-c", KILLED_AT, str(database), str(target), str(steps)]
        done = await anyio.run_process(command, check=False, env=environment())
        assert done.returncode == -signal.SIGKILL, done.stderr
        for create in (False, True):
            with pytest.raises(
                UnusableDatabaseError, match=r"that is not finished: run 'mcp-keys-server database copy'"
            ):
                async with open_key_ring(str(target), create=create, bcrypt_cost=CHEAPEST_COST):
                    raise AssertionError
    assert not (await copy(database, target)).was_there
    assert everything(target) == everything(database)
    async with open_key_ring(str(target), create=False, bcrypt_cost=CHEAPEST_COST) as ring:
        assert await ring.administration.verify_events() == lives.head


def stopped_after(part: float) -> Tell:
    """Stops the copying when this part of it is done."""

    def tell(done: int, most: int) -> None:
        if done > part * most:
            raise KeyboardInterrupt

    return tell


async def test_a_copy_that_goes_on_writes_only_what_is_missing(
    database: Database, target: Database, lives: Lives
) -> None:
    del lives
    with pytest.raises(KeyboardInterrupt):
        await copy(database, target, tell=stopped_after(0.3))
    target.refuse("INSERT", "keys", saying="it is there already")
    await copy(database, target)
    assert everything(target) == everything(database)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.99])
async def test_what_is_changed_while_it_is_copied_is_noticed_and_copied_the_next_time(
    database: Database, target: Database, lives: Lives, part: float
) -> None:
    changed = False

    async def change() -> None:
        clock = SettableClock(lives.now + timedelta(minutes=1))
        async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
            await ring.administration.revoke_key(lives.good_id, reason="stolen")
            _, key = await ring.manager.claim_key(Person("ada"), key_id=lives.offered_id, claimed_from=None)
            clock.advance(days=2)
            await ring.manager.offer_rotation(Person("ada"), key_id=lives.offered_id)
            await ring.manager.claim_key(Person("ada"), key_id=lives.offered_id, claimed_from="198.51.100.1")
            await ring.sessions.begin(await ring.verifier.verify(key.reveal()))
            await ring.tool_pins.forget("notes")
            await ring.tool_pins.pin("notes", PINS | {"read": "ee"}, clock.now)
            await replace(ring)
            await ring.administration.forget_checksum_secrets()

    def tell(done: int, most: int) -> None:
        nonlocal changed
        if not changed and done >= part * most:
            changed = True
            elsewhere(change)

    with pytest.raises(CopyNotFinishedError, match=r"ledger went on from entry \d+ to \d+\. Stop its servers and run"):
        await copy(database, target, tell=tell)
    with pytest.raises(UnusableDatabaseError, match="not finished"):
        async with open_key_ring(str(target), bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    await copy(database, target)
    assert everything(target) == everything(database)
    async with open_key_ring(str(target), create=False, bcrypt_cost=CHEAPEST_COST) as ring:
        assert await refusal(ring, lives.good) is Refusal.REVOKED


@asynccontextmanager
async def after_a_copy_was_cut_short(database: Database, target: Database, lives: Lives) -> AsyncIterator[KeyRing]:
    with pytest.raises(KeyboardInterrupt):
        await copy(database, target, tell=stopped_after(0.3))
    clock = SettableClock(lives.now + timedelta(minutes=1))
    async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
        yield ring


async def test_a_copy_that_was_cut_short_is_known_again_as_long_as_a_secret_is_not_forgotten(
    database: Database, target: Database, lives: Lives
) -> None:
    async with after_a_copy_was_cut_short(database, target, lives) as ring:
        await replace(ring)
        await announce(ring)
    await copy(database, target)
    assert everything(target) == everything(database)


async def test_a_copy_that_was_cut_short_is_left_alone_when_it_cannot_be_known_again(
    database: Database, target: Database, lives: Lives
) -> None:
    async with after_a_copy_was_cut_short(database, target, lives) as ring:
        await replace(ring)
        for key in await ring.administration.list_keys():
            await ring.administration.revoke_key(key.key_id, reason=None)
        assert await ring.administration.forget_checksum_secrets() == []
        await ring.checksum_secrets.look()
        assert len(list(ring.checksum_secrets)) == 1
    before = everything(target)
    with pytest.raises(UnusableDatabaseError, match="is another database or has forgotten its checksum secrets since"):
        await copy(database, target)
    assert everything(target) == before


async def test_a_secret_that_is_replaced_while_it_is_copied_is_noticed_and_copied_the_next_time(
    database: Database, target: Database, lives: Lives
) -> None:
    replaced = False

    async def change() -> None:
        clock = SettableClock(lives.now + timedelta(minutes=1))
        async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
            await replace(ring)

    def tell(done: int, most: int) -> None:
        nonlocal replaced
        if not replaced and done >= most / 2:
            replaced = True
            elsewhere(change)

    with pytest.raises(CopyNotFinishedError):
        await copy(database, target, tell=tell)
    await copy(database, target)
    assert everything(target) == everything(database)


async def test_a_finished_copy_is_there_already_and_one_that_lives_on_is_left_alone(
    database: Database, target: Database, lives: Lives
) -> None:
    await copy(database, target)
    again = await copy(database, target)
    assert (again.was_there, again.head) == (True, lives.head)
    async with open_key_ring(str(target), create=False, bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.revoke_key(lives.good_id, reason=None)
    before = everything(target)
    with pytest.raises(UnusableDatabaseError, match=r"was copied from .* before, and one of them has changed since"):
        await copy(database, target)
    assert everything(target) == before


@pytest.mark.parametrize("table", ["meta", "events"])
async def test_a_finished_copy_that_differs_in_anything_is_named(
    database: Database, target: Database, lives: Lives, table: str
) -> None:
    del lives
    await copy(database, target)
    if table == "meta":
        target.sql("DELETE FROM meta WHERE name = 'public_url'")
    else:
        target.tamper("DELETE FROM events WHERE number = (SELECT max(number) FROM events)")
    with pytest.raises(UnusableDatabaseError, match=rf"changed since \({table}\)"):
        await copy(database, target)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.99])
async def test_of_two_copies_at_once_the_later_one_is_finished_and_the_earlier_one_writes_nothing_any_more(
    database: Database, target: Database, lives: Lives, part: float
) -> None:
    finished: list[dict[str, list[tuple[Any, ...]]]] = []

    async def change_and_copy() -> None:
        clock = SettableClock(lives.now + timedelta(minutes=1))
        async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
            await ring.administration.rotate_key(lives.good_id, overlap_hours=0)
            await ring.administration.disable_user("bob")
        await copy(database, target)

    def tell(done: int, most: int) -> None:
        if not finished and done >= part * most:
            elsewhere(change_and_copy)
            finished.append(everything(target))

    with pytest.raises(UnusableDatabaseError, match="another copy into .* was begun after this one"):
        await copy(database, target, tell=tell)
    assert [everything(target)] == finished == [everything(database)]
    async with open_key_ring(str(target), create=False, bcrypt_cost=CHEAPEST_COST) as ring:
        assert await refusal(ring, lives.good) is Refusal.UNMATCHED


class CutShortError(Exception):
    """As if it had been killed."""


async def test_a_later_copy_that_was_cut_short_ends_the_earlier_one_too(
    database: Database, target: Database, lives: Lives
) -> None:
    del lives
    has_begun = False

    def cut_short(_: int, __: int) -> None:
        raise CutShortError

    async def begin() -> None:
        with pytest.raises(CutShortError):
            await copy(database, target, tell=cut_short)

    def tell(_: int, __: int) -> None:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            elsewhere(begin)

    with pytest.raises(UnusableDatabaseError, match="another copy into .* was begun after this one"):
        await copy(database, target, tell=tell)
    await copy(database, target)
    assert everything(target) == everything(database)


async def test_what_else_is_written_to_the_copy_is_noticed(database: Database, target: Database, lives: Lives) -> None:
    del lives
    written = False

    def tell(done: int, most: int) -> None:
        nonlocal written
        if not written and done > 0.2 * most:
            written = True
            target.sql(
                "INSERT INTO users (user_id, created_at) SELECT 'eve', created_at FROM users WHERE user_id = 'ada'"
            )

    with pytest.raises(UnusableDatabaseError, match=r"not like .* \(users\): something else writes to it"):
        await copy(database, target, tell=tell)


async def test_a_revocation_that_was_copied_is_not_undone_by_a_source_that_lost_it(
    database: Database, target: Database, lives: Lives
) -> None:
    del lives
    with pytest.raises(KeyboardInterrupt):
        await copy(database, target, tell=stopped_after(0.3))
    on = "" if isinstance(database, SqliteDatabase) else " ON keys"
    database.sql(f"DROP TRIGGER a_revocation_is_never_undone{on}", "UPDATE keys SET revoked_at = NULL")
    with pytest.raises(StoreUnavailableError, match="a revocation is never undone"):
        await copy(database, target)
    assert target.sql("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL") == [(1,)]


async def test_a_target_that_holds_something_else_is_left_alone(
    database: Database, target: Database, lives: Lives
) -> None:
    del lives
    async with open_world(target):
        pass
    before = everything(target)
    with pytest.raises(UnusableDatabaseError, match="is not empty; name a database that holds nothing as TARGET"):
        await copy(database, target)
    assert everything(target) == before


async def test_half_a_copy_is_neither_the_target_of_another_source_nor_a_source(
    database: Database, target: Database, lives: Lives, tmp_path: Path
) -> None:
    del lives
    with pytest.raises(KeyboardInterrupt):
        await copy(database, target, tell=stopped_after(0))
    other = SqliteDatabase(tmp_path / "other" / "keys.db")
    async with open_world(other):
        pass
    with pytest.raises(UnusableDatabaseError, match="is a copy that is not finished of .*, which is another .*; name"):
        await copy(other, target)
    with pytest.raises(UnusableDatabaseError, match="is a copy of .* that is not finished: run"):
        await copy(target, SqliteDatabase(tmp_path / "third" / "keys.db"))
    await copy(database, target)


async def test_a_source_of_which_nothing_can_be_copied_is_named_and_makes_no_target(
    database: Database, sqlite_target: SqliteDatabase
) -> None:
    with pytest.raises(NoDatabaseError):
        await copy(database, sqlite_target)
    async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST):
        pass
    with pytest.raises(UnusableDatabaseError, match="holds nothing to copy"):
        await copy(database, sqlite_target)
    assert not sqlite_target.is_there()


async def test_a_database_is_not_copied_into_itself(database: Database, lives: Lives) -> None:
    del lives
    with pytest.raises(UnusableDatabaseError, match="cannot be copied into itself"):
        await copy(database, database)
    if isinstance(database, SqliteDatabase):
        database.another().path.symlink_to(database.path)
        with pytest.raises(UnusableDatabaseError, match="cannot be copied into itself"):
            await copy(database, database.another())


async def test_a_source_of_an_older_schema_is_not_brought_up_to_date_by_copying_it(
    sqlite_database: SqliteDatabase, sqlite_target: SqliteDatabase
) -> None:
    async with open_world(sqlite_database):
        pass
    sqlite_database.sql("PRAGMA user_version = 2")
    with pytest.raises(
        UnusableDatabaseError, match=r"is of schema 2 and not of 7 yet; run: mcp-keys-server database mi"
    ):
        await copy(sqlite_database, sqlite_target)
    assert sqlite_database.sql("PRAGMA user_version") == [(2,)]


@pytest.mark.parametrize("time", ["yesterday", "2026-11-21T12:00:00.000000"])
async def test_a_damaged_time_in_the_source_is_a_sentence(
    sqlite_database: SqliteDatabase, target: Database, time: str
) -> None:
    async with open_world(sqlite_database):
        pass
    sqlite_database.sql(f"UPDATE users SET created_at = '{time}'")
    with pytest.raises(UnusableDatabaseError, match="the row .* of users is damaged: one of its times is none"):
        await copy(sqlite_database, target)


async def test_a_source_with_a_broken_ledger_gives_no_copy_that_can_be_used(
    database: Database, target: Database, lives: Lives
) -> None:
    del lives
    database.tamper("UPDATE events SET detail = 'x' WHERE number = 2")
    with pytest.raises(BrokenLedgerError, match="entry 2 was changed"):
        await copy(database, target)
    with pytest.raises(UnusableDatabaseError, match="not finished"):
        async with open_key_ring(str(target), bcrypt_cost=CHEAPEST_COST):
            raise AssertionError


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_database_that_stops_answering_is_named(
    database: Database, target: Database, lives: Lives, which: str
) -> None:
    del lives
    with pytest.raises(KeyboardInterrupt):
        await copy(database, target, tell=stopped_after(0))
    lost = database if which == "source" else target
    lost.lose("sessions")
    with pytest.raises(
        StoreUnavailableError, match=f"{re.escape(str(lost.setting))} cannot be read or written: .*sessions"
    ):
        await copy(database, target)
