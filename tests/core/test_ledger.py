"""The ledger: an entry for every change, in the same transaction, and a chain that shows whatever is done to it."""

import asyncio
import hashlib
import json
import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

from mcp_keys_server import (
    NotPermittedError,
    Principal,
    RequestedGrant,
    StoreUnavailableError,
    UserNotFoundError,
    open_key_ring,
)
from mcp_keys_server.core import administration
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNoLongerGoodError, TooManyKeysError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.ledger import BEGINNING, BrokenLedgerError, Doer, Event, EventKind, Head, digest_of
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Person
from tests.databases import Database, SqliteDatabase
from tests.world import NOTHING_SPECIAL, World, open_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio
CLIENT = "192.0.2.7"
OPERATOR, PERSON, INVITED = Doer("operator"), Doer("person", client=CLIENT), Doer("invitation", client=CLIENT)
ADA = Person("ada")


async def last(world: World) -> tuple[EventKind, str, str | None, Doer, str]:
    (entry,) = await world.ring.administration.list_events(limit=1)
    event = entry.event
    assert event.at == world.clock.now
    return event.kind, event.user_id, event.key_id, event.by, event.detail


async def count(world: World) -> int:
    return len(await world.ring.administration.list_events())


def test_what_an_entry_is_of_is_written_down_as_it_is_called() -> None:
    """In databases, which outlive what something is called here."""
    assert [kind.value for kind in EventKind] == [kind.name.lower() for kind in EventKind]


async def test_everything_that_the_operator_does_is_an_entry(world: World) -> None:
    operator = world.ring.administration
    assert await last(world) == (EventKind.USER_ADDED, "bob", None, OPERATOR, "")
    key, _ = await world.key()
    words = "name='A key' scopes='keys:read keys:write' aliases='all' tools='all' expires_at=never"
    assert await last(world) == (EventKind.KEY_CREATED, "ada", key.key_id, OPERATOR, words)
    _, _new = await operator.rotate_key(key.key_id, overlap_hours=1.5)
    assert await last(world) == (EventKind.KEY_ROTATED, "ada", key.key_id, OPERATOR, "overlap_hours=1.5")
    for act, kind in ((operator.disable_key, EventKind.KEY_DISABLED), (operator.enable_key, EventKind.KEY_ENABLED)):
        await act(key.key_id)
        assert await last(world) == (kind, "ada", key.key_id, OPERATOR, "")
    for switch, kind in (
        (operator.disable_user, EventKind.USER_DISABLED),
        (operator.enable_user, EventKind.USER_ENABLED),
    ):
        await switch("ada@example.com")
        assert await last(world) == (kind, "ada", None, OPERATOR, "")
    await operator.revoke_key(key.key_id, reason="lost")
    assert await last(world) == (EventKind.KEY_REVOKED, "ada", key.key_id, OPERATOR, "lost")
    assert await count(world) == 9
    assert (await operator.verify_events()).number == 9


async def test_everything_that_a_person_or_a_key_does_is_an_entry_with_their_address(world: World) -> None:
    manager = world.ring.manager
    key = await world.principal()
    for actor, by in ((ADA, PERSON), (key, Doer("key", key.key_id, CLIENT))):
        made, _ = await manager.create_key(actor, name="x", requested=NOTHING_SPECIAL, client=CLIENT)
        assert (await last(world))[:4] == (EventKind.KEY_CREATED, "ada", made.key_id, by)
        asked = await manager.create_unclaimed_key(actor, name="x", requested=NOTHING_SPECIAL, client=CLIENT)
        assert (await last(world))[:4] == (EventKind.KEY_CREATED, "ada", asked.key_id, by)
        record, _ = await manager.claim_key(actor, key_id=asked.key_id, claimed_from=CLIENT)
        assert await last(world) == (EventKind.KEY_CLAIMED, "ada", asked.key_id, by, f"prefix={record.prefix}")
        await manager.update_key(actor, key_id=made.key_id, name="y", client=CLIENT)
        words = "name='y' scopes='keys:read' aliases='all' tools='all' expires_at=never"
        assert await last(world) == (EventKind.KEY_CHANGED, "ada", made.key_id, by, words)
        await manager.offer_rotation(actor, key_id=made.key_id, overlap_hours=2, client=CLIENT)
        assert await last(world) == (EventKind.KEY_ROTATED, "ada", made.key_id, by, "overlap_hours=2")
        await manager.rotate_key(actor, key_id=made.key_id, client=CLIENT)
        assert await last(world) == (EventKind.KEY_ROTATED, "ada", made.key_id, by, "overlap_hours=24")
        await manager.disable_key(actor, key_id=made.key_id, client=CLIENT)
        assert await last(world) == (EventKind.KEY_DISABLED, "ada", made.key_id, by, "")
        await manager.enable_key(actor, key_id=made.key_id, client=CLIENT)
        assert await last(world) == (EventKind.KEY_ENABLED, "ada", made.key_id, by, "")
        await manager.revoke_key(actor, key_id=made.key_id, reason=None, client=CLIENT)
        assert await last(world) == (EventKind.KEY_REVOKED, "ada", made.key_id, by, "")
        await manager.revoke_with_descendants(actor, key_id=asked.key_id, reason="old", client=CLIENT)
        assert await last(world) == (EventKind.KEY_REVOKED, "ada", asked.key_id, by, "old")


async def test_what_is_done_with_an_invitation_is_an_entry(world: World) -> None:
    replaced = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    newest, before, *_ = await world.ring.administration.list_events()
    assert (newest.event.kind, newest.event.key_id) == (EventKind.KEY_CREATED, invited.key.key_id)
    assert (before.event.kind, before.event.key_id) == (EventKind.KEY_REVOKED, replaced.key.key_id)
    await world.ring.invitations.accept(invited.code, claimed_from=CLIENT)
    assert (await last(world))[:4] == (EventKind.KEY_CLAIMED, "ada", invited.key.key_id, INVITED)
    await world.ring.invitations.disown(invited.code, client=CLIENT)
    assert (await last(world))[:4] == (EventKind.KEY_REVOKED, "ada", invited.key.key_id, INVITED)


async def test_what_changes_nothing_is_no_entry(world: World) -> None:
    operator, manager = world.ring.administration, world.ring.manager
    key, _ = await world.key()
    await operator.enable_key(key.key_id)
    await operator.enable_user("ada")
    await operator.disable_key(key.key_id)
    await operator.disable_user("bob")
    before = await count(world)
    await operator.disable_key(key.key_id)
    await operator.disable_user("bob")
    assert await count(world) == before
    await operator.revoke_key(key.key_id, reason=None)
    await operator.revoke_key(key.key_id, reason=None, cascade=True)
    await manager.revoke_key(ADA, key_id=key.key_id, reason=None)
    assert await count(world) == before + 1


async def test_whoever_tries_more_than_they_may_is_written_down(world: World) -> None:
    manager = world.ring.manager
    strong, _ = await world.key()
    asked = await manager.create_unclaimed_key(
        await world.principal(), name="x", requested=RequestedGrant(frozenset({"keys:read"}))
    )
    reader = await world.principal(requested=RequestedGrant(frozenset({"keys:read"})))
    weak = await world.principal(requested=RequestedGrant(frozenset({"keys:write", "keys:read"}), frozenset({"a"})))
    attempts: tuple[tuple[Principal, Callable[[], Awaitable[object]]], ...] = (
        (reader, lambda: manager.create_key(reader, name="x", requested=NOTHING_SPECIAL, client=CLIENT)),
        (reader, lambda: manager.create_unclaimed_key(reader, name="x", requested=NOTHING_SPECIAL, client=CLIENT)),
        (weak, lambda: manager.claim_key(weak, key_id=asked.key_id, claimed_from=CLIENT)),
        (weak, lambda: manager.rotate_key(weak, key_id=strong.key_id, client=CLIENT)),
        (weak, lambda: manager.offer_rotation(weak, key_id=strong.key_id, client=CLIENT)),
        (reader, lambda: manager.update_key(reader, key_id=strong.key_id, client=CLIENT)),
        (reader, lambda: manager.disable_key(reader, key_id=strong.key_id, client=CLIENT)),
        (weak, lambda: manager.enable_key(weak, key_id=strong.key_id, client=CLIENT)),
        (reader, lambda: manager.revoke_key(reader, key_id=strong.key_id, reason=None, client=CLIENT)),
        (reader, lambda: manager.revoke_with_descendants(reader, key_id=reader.key_id, reason=None, client=CLIENT)),
    )
    for actor, attempt in attempts:
        before = await count(world)
        with pytest.raises(NotPermittedError) as refused:
            await attempt()
        told = (EventKind.REFUSED, "ada", actor.key_id, Doer("key", actor.key_id, CLIENT), str(refused.value))
        assert await last(world) == told
        assert await count(world) == before + 1


async def test_one_key_too_many_is_written_down(world: World) -> None:
    policy = KeyPolicy(max_live_keys=1)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, policy=policy, clock=world.clock) as ring:
        await ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)
        with pytest.raises(TooManyKeysError) as refused:
            await ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL, client=CLIENT)
    assert await last(world) == (EventKind.REFUSED, "ada", None, PERSON, str(refused.value))


async def test_a_change_that_is_not_made_is_no_entry(world: World) -> None:
    asked = await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    gone = await world.principal()
    await world.ring.administration.revoke_key(gone.key_id, reason=None)
    before = await count(world)
    with pytest.raises(KeyNoLongerGoodError):
        await world.ring.manager.disable_key(gone, key_id=asked.key_id)
    world.clock.advance(days=1)
    with pytest.raises(ClaimNotOpenError):
        await world.ring.manager.claim_key(ADA, key_id=asked.key_id, claimed_from=None)
    assert await count(world) == before


async def test_what_cannot_be_written_down_is_not_done(world: World) -> None:
    record, key = await world.key()
    asked = await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    invited = await world.ring.invitations.invite("bob", name="x", requested=NOTHING_SPECIAL)
    disabled, _ = await world.key("bob")
    await world.ring.administration.disable_key(disabled.key_id)
    world.database.refuse("INSERT", "events", saying="no room")
    tables = [f"SELECT * FROM {table}" for table in ("users", "keys", "claims", "secrets", "events")]
    before = [world.sql(table) for table in tables]
    operator, manager = world.ring.administration, world.ring.manager
    acts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: operator.add_user("eve"),
        lambda: operator.disable_user("ada"),
        lambda: operator.create_key("ada", name="x", requested=NOTHING_SPECIAL),
        lambda: operator.rotate_key(record.key_id),
        lambda: operator.disable_key(record.key_id),
        lambda: operator.enable_key(disabled.key_id),
        lambda: operator.revoke_key(record.key_id, reason=None, cascade=True),
        lambda: manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL),
        lambda: manager.claim_key(ADA, key_id=asked.key_id, claimed_from=None),
        lambda: manager.offer_rotation(ADA, key_id=record.key_id),
        lambda: manager.update_key(ADA, key_id=record.key_id, name="y"),
        lambda: world.ring.invitations.invite("bob", name="x", requested=NOTHING_SPECIAL),
        lambda: world.ring.invitations.accept(invited.code, claimed_from=None),
        lambda: world.ring.invitations.disown(invited.code),
    )
    for act in acts:
        with pytest.raises(StoreUnavailableError, match="no room"):
            await act()
    assert [world.sql(table) for table in tables] == before
    await world.ring.verifier.verify(key.reveal())


async def test_the_ledger_holds_no_secret(world: World) -> None:
    record, key = await world.key()
    _, new = await world.ring.administration.rotate_key(record.key_id)
    asked = await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    _, claimed = await world.ring.manager.claim_key(ADA, key_id=asked.key_id, claimed_from=CLIENT)
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    _, accepted = await world.ring.invitations.accept(invited.code, claimed_from=CLIENT)
    told = repr(world.sql("SELECT * FROM events"))
    for secret in (key, new, claimed, accepted):
        assert secret.reveal()[12:30] not in told
    assert invited.code not in told
    for (key_hash,) in world.sql("SELECT key_hash FROM secrets"):
        assert str(key_hash)[7:] not in told


async def test_a_user_sees_what_was_done_to_their_keys_and_to_nobody_elses(world: World) -> None:
    ada = await world.principal()
    await world.key("bob")
    events = await world.ring.manager.list_events(ada)
    assert [(entry.event.kind, entry.event.user_id) for entry in events] == [
        (EventKind.KEY_CREATED, "ada"),
        (EventKind.USER_ADDED, "ada"),
    ]
    assert await world.ring.manager.list_events(ADA, before=events[0].number) == events[1:]
    assert await world.ring.administration.list_events("ada@example.com") == events
    assert [entry.number for entry in await world.ring.administration.list_events()] == [4, 3, 2, 1]
    with pytest.raises(UserNotFoundError):
        await world.ring.administration.list_events("eve")
    with pytest.raises(NotPermittedError, match="keys:read"):
        await world.ring.manager.list_events(await world.principal(requested=RequestedGrant(frozenset())))


async def test_entries_of_many_writers_are_one_chain(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        rings = [world.ring, other] * 15
        await asyncio.gather(*(ring.administration.add_user(f"user{number}") for number, ring in enumerate(rings)))
    assert (await world.ring.administration.verify_events()).number == 32


async def test_a_long_ledger_is_followed_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "EVENTS_AT_A_TIME", 2)
    heads = [await world.ring.administration.verify_events()]
    for number in range(5):
        await world.ring.administration.add_user(f"user{number}")
        heads.append(await world.ring.administration.verify_events(heads[-1]))
    assert [head.number for head in heads] == [2, 3, 4, 5, 6, 7]
    for head in (BEGINNING, *heads):
        assert await world.ring.administration.verify_events(head) == heads[-1]


COLUMNS = ("number", "kind", "at", "user_id", "key_id", "by_means", "by_key_id", "client", "detail", "digest")
Rows = list[list[object]]


def flip(rows: Rows, chance: random.Random) -> None:
    """A bit, of any byte of any column of any row."""
    while True:
        row, column = chance.choice(rows), chance.randrange(len(COLUMNS))
        value = row[column]
        if isinstance(value, int):
            flipped = value ^ (1 << chance.randrange(63))
            if flipped in [other[column] for other in rows]:
                continue  # which the database itself refuses
            row[column] = flipped
        elif value in (None, ""):
            row[column] = "x"
        else:
            raw = bytearray(value if isinstance(value, bytes) else str(value).encode())
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            row[column] = bytes(raw)
        return


def empty(rows: Rows, chance: random.Random) -> None:
    """A text becomes no text, or the other way round."""
    row = chance.choice(rows)
    column = chance.choice([number for number in (4, 6, 7) if row[number] != ""])
    row[column] = None if row[column] is not None else ""


def delete(rows: Rows, chance: random.Random) -> None:
    del rows[chance.randrange(len(rows) - 1)]


def delete_and_close_ranks(rows: Rows, chance: random.Random) -> None:
    delete(rows, chance)
    for number, row in enumerate(rows, 1):
        row[0] = number


def swap(rows: Rows, chance: random.Random) -> None:
    one, other = chance.sample(rows, 2)
    one[0], other[0] = other[0], one[0]


def truncate(rows: Rows, chance: random.Random) -> None:
    del rows[chance.randrange(len(rows)) :]


def insert(rows: Rows, chance: random.Random) -> None:
    made_up = [chance.choice(rows)[column] for column in range(len(COLUMNS))]
    place = chance.choice([-(2**63), -1, 0, *range(1, len(rows) + 2)])
    for row in rows:
        if int(str(row[0])) >= place > 0:
            row[0] = int(str(row[0])) + 1
    rows.append([place, *made_up[1:]])


def write_anew(rows: Rows, chance: random.Random) -> None:
    """By somebody who knows how the chain is made, from an entry on."""
    from mcp_keys_server.core.ledger import digest_of
    from mcp_keys_server.stores.sql.rows import entry

    rows[chance.randrange(len(rows))][8] = "made up"
    head = BEGINNING
    for row in rows:
        head = Head(head.number + 1, digest_of(entry(tuple(row)).event, head))
        row[-1] = head.digest


WAYS = (flip, flip, flip, flip, empty, delete, delete_and_close_ranks, swap, truncate, insert, write_anew)


async def test_each_of_a_thousand_changes_by_other_hands_is_found(sqlite_world: World) -> None:
    world = sqlite_world
    ada = await world.principal()
    for number in range(4):
        made, _ = await world.ring.manager.create_key(ada, name=f"Küche {number}", requested=NOTHING_SPECIAL)
        await world.ring.manager.revoke_key(ADA, key_id=made.key_id, reason="gone", client=CLIENT)
    head = await world.ring.administration.verify_events()
    rows = world.sql(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY number")
    chance = random.Random(4)  # noqa: S311 - so that a failure comes again
    with closing(sqlite3.connect(world.address, isolation_level=None, check_same_thread=False)) as hands:

        def bring_along() -> None:
            hands.execute("DROP TRIGGER an_event_is_never_changed")
            hands.execute("DROP TRIGGER an_event_is_never_removed")
            hands.execute("PRAGMA synchronous = OFF")

        def put(changed: Rows) -> None:
            hands.execute("BEGIN IMMEDIATE")
            hands.execute("DELETE FROM events")
            places = ", ".join("?" if column in ("number", "digest") else "CAST(? AS TEXT)" for column in COLUMNS)
            hands.executemany(f"INSERT INTO events VALUES ({places})", changed)
            hands.execute("COMMIT")

        # In threads, because whoever writes down what was used may be at it, and ends only when the event loop goes on.
        await anyio.to_thread.run_sync(bring_along)
        for number in range(1_000):
            changed = [list(row) for row in rows]
            way = WAYS[number % len(WAYS)]
            way(changed, chance)
            await anyio.to_thread.run_sync(put, changed)
            try:
                await world.ring.administration.verify_events(head)
            except BrokenLedgerError:
                continue
            pytest.fail(f"{way.__name__} was not found: {set(map(repr, changed)) ^ {repr(list(row)) for row in rows}}")
        await anyio.to_thread.run_sync(put, [list(row) for row in rows])
    assert await world.ring.administration.verify_events(head) == head


async def test_an_older_copy_of_the_file_is_noticed_by_who_kept_the_head(sqlite_world: World) -> None:
    world = sqlite_world
    record, _ = await world.key()
    copy = SqliteDatabase(Path(world.address).with_name("copy.db"))
    world.sql(f"VACUUM INTO '{copy}'")
    copy.path.chmod(0o600)
    old = await world.ring.administration.verify_events()
    await world.ring.administration.revoke_key(record.key_id, reason="stolen")
    head = await world.ring.administration.verify_events(old)
    async with open_world(copy) as restored:
        assert await restored.ring.administration.verify_events(old) == old
        with pytest.raises(BrokenLedgerError, match="ends with entry 3, and entry 4 was there before"):
            await restored.ring.administration.verify_events(head)
        await restored.ring.administration.add_user("eve")
        with pytest.raises(BrokenLedgerError, match="entry 4"):
            await restored.ring.administration.verify_events(head)


async def test_entries_are_told_apart_by_their_database(database: Database) -> None:
    heads: list[Head] = []
    for one in (database, database.another()):
        async with open_world(one) as world:
            world.clock.now += timedelta(seconds=len(heads))
            await world.ring.administration.add_user("eve")
            heads.append(await world.ring.administration.verify_events())
    assert heads[0].digest != heads[1].digest


async def test_a_head_is_the_same_after_it_was_text(world: World) -> None:
    head = await world.ring.administration.verify_events()
    for text in (str(head), f"  {head}\n"):
        assert Head.parse(text) == head
    assert Head.parse(str(BEGINNING)) == BEGINNING
    assert json.loads(json.dumps(str(head))) == str(head)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "5",
        "5:",
        "5:00",
        f"-1:{'00' * 32}",
        f"1_0:{'00' * 32}",
        f"x:{'00' * 32}",
        f"٣:{'00' * 32}",
        f"5:{'0 ' * 64}",
        f"5:{'zz' * 32}",
        f"5:{'00' * 33}",
        f"5:{'AB' * 32}",
        f"0:{'11' * 32}",
        f"{'9' * 5000}:{'00' * 32}",
    ],
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a head is a number|before the first entry"):
        Head.parse(text)


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-11-21 12:00:00.000000+00:00",
        "2026-11-21T12:00:00Z",
        "20261121T120000+0000",
        "9999-12-31T23:59:59.000000-14:00",  # beyond the calendar
    ],
)
async def test_a_moment_in_another_spelling_is_a_change_too(sqlite_world: World, spelling: str) -> None:
    world = sqlite_world
    world.sql("DROP TRIGGER an_event_is_never_changed")
    await world.ring.administration.verify_events()
    world.sql(f"UPDATE events SET at = '{spelling}' WHERE number = 2")
    with pytest.raises(BrokenLedgerError, match="entry 2"):
        await world.ring.administration.verify_events()


@pytest.mark.parametrize("number", [-(2**63), -1, 0])
async def test_what_was_put_before_the_first_entry_is_noticed(world: World, number: int) -> None:
    world.sql(
        f"INSERT INTO events SELECT {number}, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest "
        "FROM events WHERE number = 1"
    )
    with pytest.raises(BrokenLedgerError, match="^the ledger is broken: entry 1 is missing$"):
        await world.ring.administration.verify_events()


async def test_the_digest_of_an_entry_is_made_in_one_way_or_else_no_head_that_was_kept_fits() -> None:
    at = datetime(2026, 11, 29, 12, 0, tzinfo=timezone(timedelta(hours=1)))
    event = Event(EventKind.KEY_CREATED, at, "ada", "key_1", Doer("key", "key_2", CLIENT), "name='x'")
    fields = '[8,"key_created","2026-11-29T11:00:00.000000+00:00","ada","key_1","key","key_2","192.0.2.7","name=\'x\'"]'
    assert digest_of(event, Head(7, b"d" * 32)) == hashlib.sha256(b"d" * 32 + fields.encode()).digest()


def test_what_happens_has_the_name_that_it_has_in_every_database_there_is() -> None:
    assert {kind.name.lower() for kind in EventKind} == {kind.value for kind in EventKind}
