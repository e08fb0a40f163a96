"""What every store promises; run against each."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pytest

from mcp_keys_server import Grant, KeyRecord, KeyRing, StoreUnavailableError, UserExistsError, UserRecord
from mcp_keys_server.core.changes import (
    AddKey,
    AddSecret,
    Change,
    Decision,
    DisableUser,
    EndSecret,
    Holdings,
    KeepKey,
    PutClaim,
    RemoveSecret,
    SpendClaim,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, PrefixTakenError, UserNotFoundError
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import OPERATOR, Event, EventKind
from mcp_keys_server.core.records import Claim, KnownSecret, ProvenHash, Use
from mcp_keys_server.stores.sql import store as store_of_sql
from mcp_keys_server.stores.sql.checksum_secrets import whole_checksum_secrets
from tests.databases import TABLES
from tests.stores.changing import (
    BARE,
    LAPSES,
    MOMENT,
    NOON,
    a_key,
    a_prefix,
    add,
    adding,
    an_event,
    ask,
    deciding,
    found,
    holdings_of,
    key_id,
    revoke,
    spend,
)
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio
ADDED = Event(EventKind.USER_ADDED, NOON, "eve", None, OPERATOR)


def everything(world: World) -> list[list[tuple[Any, ...]]]:
    return [world.sql(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]


@pytest.fixture
def store(world: World) -> KeyStore:
    return world.ring.store


async def test_a_key_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    full = a_key(1)
    bare = a_key(2, grant=BARE, parent_key_id=full.key_id)
    for key in (full, bare):
        await add(store, key)
        assert await store.find_key("ada", key.key_id) == key
        assert await store.find_key("bob", key.key_id) is None


async def test_a_user_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    user = UserRecord("eve", "eve@example.com", "Eve 🐍", NOON)
    await store.add_user(user, ADDED)
    assert await store.find_user("eve") == user
    assert await store.find_user("eve@example.com") == user
    assert await store.find_user("nobody") is None


async def test_times_are_kept_in_utc_whatever_zone_they_come_in(store: KeyStore) -> None:
    key = await add(store, a_key(created_at=NOON.astimezone(ZoneInfo("Asia/Kathmandu"))))
    kept = await found(store, key)
    assert kept is not None
    assert kept.created_at == NOON
    assert kept.created_at.utcoffset() == timedelta(0)


async def test_the_record_of_a_secret_holds_what_decides_about_it(store: KeyStore) -> None:
    key = await add(store, a_key())
    secret = await store.read_secret(prefix_of(key))
    assert secret is not None
    assert (secret.key_hash, secret.revoked, secret.disabled, secret.owner_disabled) == ("hash", False, False, False)
    assert (secret.principal.user_id, secret.principal.key_id, secret.principal.grant) == ("ada", key.key_id, key.grant)
    assert secret.ends_at is None
    assert "hash'" not in repr(secret)
    for change, decides in (
        (EndSecret(prefix_of(key), LAPSES), replace(secret, ends_at=LAPSES)),
        (KeepKey(replace(key, disabled_at=NOON)), replace(secret, ends_at=LAPSES, disabled=True)),
        (DisableUser(NOON), replace(secret, ends_at=LAPSES, disabled=True, owner_disabled=True)),
    ):
        await store.change("ada", deciding(change))
        assert await store.read_secret(prefix_of(key)) == decides
    await revoke(store, key)
    after = await store.read_secret(prefix_of(key))
    assert after is not None
    assert after.revoked
    assert await store.read_secret("unknown!") is None


async def test_a_change_is_decided_on_all_that_the_user_has_then_and_nothing_older(store: KeyStore) -> None:
    maker, revoked = await add(store, a_key(1)), await add(store, a_key(2, parent_key_id=key_id(1)))
    asked = await ask(store, a_key(3, parent_key_id=key_id(2), has_secret=False))
    await add(store, a_key(4, user_id="bob"))
    await revoke(store, revoked)
    holdings = await holdings_of(store)
    assert holdings.user == await store.find_user("ada")
    assert holdings.keys == {maker.key_id: maker, asked.key_id: asked}
    assert holdings.makers == {revoked.key_id: maker.key_id, asked.key_id: revoked.key_id}
    await store.change("ada", deciding(DisableUser(NOON), KeepKey(replace(maker, name="New"))))
    later = await holdings_of(store)
    assert later.user.disabled_at == NOON
    assert later.keys[maker.key_id].name == "New"


async def test_the_answer_of_a_change_is_the_one_that_was_decided(store: KeyStore) -> None:
    assert await store.change("ada", lambda holdings: Decision(holdings.user.email)) == "ada@example.com"


async def test_who_makes_very_many_changes_keeps_another_user_waiting_for_a_few_and_not_for_all(
    store: KeyStore,
) -> None:
    decided: list[str] = []

    def decide(holdings: Holdings) -> Decision[None]:
        decided.append(holdings.user.user_id)
        return Decision(None)

    many = [asyncio.create_task(store.change("ada", decide)) for _ in range(100)]
    await asyncio.sleep(0)  # so that all of them have asked
    await store.change("bob", decide)
    await asyncio.gather(*many)
    assert decided.count("ada") == 100
    assert decided.index("bob") < 10


async def test_a_change_waits_for_so_long_for_those_of_the_same_user_before_it(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_of_sql, "SECONDS_TO_WAIT_FOR_A_TURN", 0)
    many = [store.change("ada", lambda _: Decision(None)) for _ in range(3)]
    told = await asyncio.gather(*many, return_exceptions=True)
    assert [str(it) for it in told[1:]] == ["too many changes of one user are waiting"] * 2
    monkeypatch.undo()
    assert await store.change("ada", lambda _: Decision("done")) == "done"


async def test_for_a_user_who_is_not_there_nothing_is_decided(store: KeyStore) -> None:
    def decide(_: Holdings) -> NoReturn:
        raise AssertionError

    for nobody in ("eve", ""):
        with pytest.raises(UserNotFoundError):
            await store.change(nobody, decide)


async def test_a_user_is_changed_by_their_id_and_never_by_an_email(store: KeyStore) -> None:
    await store.add_user(UserRecord("eve", "eve@example.com", None, NOON), ADDED)
    with pytest.raises(UserNotFoundError):
        await store.change("eve@example.com", deciding(DisableUser(NOON)))


async def test_what_is_kept_of_a_key_is_its_name_its_grant_and_whether_it_is_disabled(store: KeyStore) -> None:
    key, other = await add(store, a_key(1)), await add(store, a_key(2))
    for grant, disabled_at in ((BARE, NOON), (key.grant, None)):
        after = replace(key, name="Küche", grant=grant, disabled_at=disabled_at)
        meddled = replace(after, created_at=LAPSES, revoked_at=NOON, secrets=(), use_count=9)
        await store.change("ada", deciding(KeepKey(meddled)))
        assert await found(store, key) == after
    assert await found(store, other) == other


async def test_a_user_is_disabled_and_enabled_alone(store: KeyStore) -> None:
    ada, bob = await store.list_users()
    for at in (NOON, None):
        await store.change("ada", deciding(DisableUser(at)))
        assert await store.list_users() == [replace(ada, disabled_at=at), bob]


async def test_secrets_are_added_ended_and_removed_and_the_newest_comes_first(store: KeyStore) -> None:
    key = await add(store, a_key(1))
    await store.change(
        "ada", deciding(EndSecret(a_prefix(1), LAPSES), AddSecret(key.key_id, a_prefix(2), "new", NOON + MOMENT))
    )
    both = (KnownSecret(a_prefix(2), NOON + MOMENT), KnownSecret(a_prefix(1), NOON, LAPSES))
    assert await found(store, key) == replace(key, secrets=both)
    await store.change("ada", deciding(RemoveSecret(a_prefix(1))))
    assert await found(store, key) == replace(key, secrets=both[:1])
    assert await store.read_secret(a_prefix(1)) is None


async def test_the_secret_that_ends_is_the_older_whatever_the_clock_said(store: KeyStore) -> None:
    for number, ended in ((1, 10), (2, 21)):
        key = await add(store, replace(a_key(number), secrets=()))
        pair = (AddSecret(key.key_id, a_prefix(number * 10 + at), "hash", NOON + at * MOMENT) for at in (0, 1))
        await store.change("ada", deciding(*pair, EndSecret(a_prefix(ended), LAPSES)))
        kept = await found(store, key)
        assert kept is not None
        assert [secret.ends_at for secret in kept.secrets] == [None, LAPSES]


def failing(_: Holdings) -> NoReturn:
    raise KeyError("the test's own")


BROKEN: tuple[tuple[Change, type[Exception]], ...] = (
    (AddSecret(key_id(2), a_prefix(1), "hash", NOON), PrefixTakenError),
    (SpendClaim(key_id(2), NOON, None), ClaimNotOpenError),
    (AddKey(a_key(1)), StoreUnavailableError),
    (AddSecret(key_id(99), "unknown!", "hash", NOON), StoreUnavailableError),
)


@pytest.mark.parametrize(("last", "error"), BROKEN, ids=["prefix", "claim", "key id", "no such key"])
async def test_a_change_is_whole_or_absent(store: KeyStore, world: World, last: Change, error: type[Exception]) -> None:
    first = await add(store, a_key(1))
    before = everything(world)
    changes = (
        *adding(a_key(2)),
        KeepKey(replace(first, name="New")),
        EndSecret(prefix_of(first), NOON),
        PutClaim(first.key_id, Claim(LAPSES)),
        DisableUser(NOON),
    )
    for _ in range(2):
        with pytest.raises(error):
            await store.change("ada", deciding(*changes, last, events=(an_event(first),)))
        assert everything(world) == before
    await store.change("ada", deciding(*changes, events=(an_event(first),)))
    assert everything(world) != before


async def test_an_error_of_the_decision_is_the_callers_and_changes_nothing(store: KeyStore, world: World) -> None:
    before = everything(world)
    with pytest.raises(KeyError, match="the test's own"):
        await store.change("ada", failing)
    assert everything(world) == before
    await add(store, a_key())  # and holds up nobody


async def test_a_taken_user_id_or_email_adds_nothing(store: KeyStore, world: World) -> None:
    before = world.sql("SELECT count(*) FROM events")
    for taken in (UserRecord("ada", None, None, NOON), UserRecord("eve", "ada@example.com", None, NOON)):
        with pytest.raises(UserExistsError):
            await store.add_user(taken, ADDED)
    assert [user.user_id for user in await store.list_users()] == ["ada", "bob"]
    assert world.sql("SELECT count(*) FROM events") == before


async def test_a_key_hash_is_replaced_only_if_it_is_still_the_old_one(store: KeyStore) -> None:
    key = await add(store, a_key(), "old")
    await store.replace_key_hash(prefix_of(key), old="old", new="new", proof=b"proof")
    await store.replace_key_hash(prefix_of(key), old="old", new="newer", proof=None)
    secret = await store.read_secret(prefix_of(key))
    assert secret is not None
    assert (secret.key_hash, secret.proof) == ("new", b"proof")
    await store.replace_key_hash(prefix_of(key), old="new", new="newest", proof=None)
    secret = await store.read_secret(prefix_of(key))
    assert secret is not None
    assert (secret.key_hash, secret.proof) == ("newest", None)  # an older proof would be of another hash


async def test_proofs_are_written_beside_the_hashes_that_they_are_of_and_change_nothing_else(
    store: KeyStore, world: World
) -> None:
    proven, changed, revoked = [await add(store, a_key(number), "hash") for number in (1, 2, 3)]
    await store.replace_key_hash(prefix_of(changed), old="hash", new="another", proof=None)
    await revoke(store, revoked, reason="lost")
    before = {table: world.sql(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES if table != "secrets"}
    secrets = world.sql("SELECT prefix, key_id, key_hash, ends_at, last_used_at FROM secrets ORDER BY 1")
    proofs = {prefix_of(key): ProvenHash("hash", b"p%d" % at) for at, key in enumerate((proven, changed, revoked))}
    for _ in range(2):
        await store.record_proofs({**proofs, "nobodys_": ProvenHash("hash", b"p")})
    assert world.sql("SELECT prefix, key_id, key_hash, ends_at, last_used_at FROM secrets ORDER BY 1") == secrets
    assert {table: world.sql(f"SELECT * FROM {table} ORDER BY 1") for table in before} == before
    written = {prefix: await store.read_secret(prefix) for prefix in proofs}
    assert [secret and secret.proof for secret in written.values()] == [b"p0", None, b"p2"]


async def test_processes_that_write_proofs_and_uses_of_the_same_keys_at_once_all_end(
    store: KeyStore, other_ring: KeyRing
) -> None:
    prefixes = [prefix_of(await add(store, a_key(number), "hash")) for number in range(50)]
    proofs = {prefix: ProvenHash("hash", b"proof") for prefix in prefixes}
    uses = {prefix: Use(1, NOON) for prefix in reversed(prefixes)}
    both = (store, other_ring.store)
    for _ in range(5):
        await asyncio.gather(
            *(one.record_proofs(proofs) for one in both),
            *(one.record_proofs(dict(reversed(proofs.items()))) for one in both),
            *(one.record_use(uses) for one in both),
        )
    assert (await store.list_all_keys("ada", include_ended=True, now=NOON))[0].use_count == 10


async def test_a_revocation_keeps_its_first_end(store: KeyStore) -> None:
    key = await add(store, a_key())
    await revoke(store, key, reason="lost")
    await revoke(store, key, at=NOON + timedelta(days=1), reason="found")
    assert await found(store, key) == replace(key, revoked_at=NOON, revoked_reason="lost", revoked_by="operator")


async def test_the_owner_of_a_key_is_found(store: KeyStore) -> None:
    await add(store, a_key(user_id="bob"))
    assert await store.find_owner(a_key().key_id) == "bob"
    assert await store.find_owner("key_unknown") is None


async def test_a_list_is_newest_first_and_goes_on_after_a_key(store: KeyStore) -> None:
    for number in range(4):
        await add(store, a_key(number, created_at=NOON + timedelta(seconds=number // 2)))
    await add(store, a_key(9, user_id="bob"))
    ids = [key_id(number) for number in (3, 2, 1, 0)]

    async def listed(after: str | None, limit: int) -> list[str]:
        return [
            key.key_id for key in await store.list_keys("ada", include_ended=True, now=NOON, after=after, limit=limit)
        ]

    assert await listed(None, 10) == ids
    assert await listed(None, 2) == ids[:2]
    assert await listed(ids[1], 10) == ids[2:]
    assert await listed(ids[3], 10) == []


async def test_use_is_added_up_and_the_last_one_stays_the_last(store: KeyStore) -> None:
    key = await add(store, a_key(1))
    await store.change("ada", deciding(AddSecret(key.key_id, a_prefix(2), "hash", NOON + MOMENT)))
    later = NOON + timedelta(hours=1)
    await store.record_use({a_prefix(1): Use(2, later), a_prefix(2): Use(4, NOON), "unknown!": Use(1, NOON)})
    await store.record_use({a_prefix(1): Use(3, NOON)})
    kept = await found(store, key)
    assert kept is not None
    assert (kept.use_count, kept.last_used_at) == (9, later)
    assert [secret.last_used_at for secret in kept.secrets] == [NOON, later]


async def test_the_checksum_secret_stays_with_the_database(world: World, other_ring: KeyRing) -> None:
    assert whole_checksum_secrets("", world.ring.checksum_secrets.making)
    assert list(other_ring.checksum_secrets) == list(world.ring.checksum_secrets)


async def test_a_change_is_seen_through_every_other_connection_at_once(store: KeyStore, other_ring: KeyRing) -> None:
    for number in range(50):
        key = await add(store, a_key(number))
        before = await other_ring.store.read_secret(prefix_of(key))
        assert before is not None
        assert not before.revoked
        await revoke(store, key)
        after = await other_ring.store.read_secret(prefix_of(key))
        assert after is not None
        assert after.revoked


async def test_many_writers_at_once_all_get_their_turn(store: KeyStore, other_ring: KeyRing) -> None:
    await asyncio.gather(*(add(store if number % 2 else other_ring.store, a_key(number)) for number in range(100)))
    assert len(await store.list_all_keys(None, include_ended=True, now=NOON)) == 100


async def test_what_is_done_for_many_people_at_once_has_one_ledger(world: World, other_ring: KeyRing) -> None:
    before = await world.ring.administration.verify_events()
    rings = (world.ring.administration, other_ring.administration)
    await asyncio.gather(*(rings[number % 2].add_user(f"user{number}") for number in range(40)))
    after = await world.ring.administration.verify_events()
    assert after.number - before.number == 40


async def test_what_is_decided_in_many_processes_at_once_is_decided_one_after_the_other(
    store: KeyStore, other_ring: KeyRing
) -> None:
    key = await add(store, a_key())

    def count(holdings: Holdings) -> Decision[int]:
        number = int(holdings.keys[key.key_id].name, 10) if holdings.keys[key.key_id].name.isdecimal() else 0
        return Decision(number, (KeepKey(replace(key, name=str(number + 1))),), (an_event(key),))

    counted = await asyncio.gather(
        *([store, other_ring.store][number % 2].change("ada", count) for number in range(100))
    )
    assert sorted(counted) == list(range(100))


async def test_a_cancelled_write_is_whole_or_absent_and_holds_up_nobody(store: KeyStore, world: World) -> None:
    for number in range(100):
        key = a_key(number)
        change = store.change("ada", deciding(*adding(key), events=(an_event(key),)))
        write = asyncio.create_task(change)
        for _ in range(number % 12):
            await asyncio.sleep(0)
        write.cancel()
        await asyncio.wait([write])
    await add(store, a_key(1_000))
    keys = {key.key_id for key in await store.list_all_keys(None, include_ended=True, now=NOON)}
    for about in ("secrets", "events"):
        told = {key for (key,) in world.sql(f"SELECT key_id FROM {about} WHERE key_id IS NOT NULL")}
        assert told | {key_id(1_000)} == keys


async def test_a_store_says_that_it_answers(store: KeyStore) -> None:
    await store.check()


async def test_an_unclaimed_key_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    asked = await ask(store, a_key(1, has_secret=False))
    invited = await ask(store, a_key(2, has_secret=False), digest=b"digest")
    for key in (asked, invited):
        assert await found(store, key) == key
    assert await store.find_key("bob", asked.key_id) is None
    assert not await store.has_secrets()


async def test_a_key_is_found_by_the_digest_of_its_invitation(store: KeyStore) -> None:
    await ask(store, a_key(1, has_secret=False))
    invited = await ask(store, a_key(2, has_secret=False), digest=b"\x00digest\xff")
    await ask(store, a_key(3, has_secret=False), digest=b"another")
    assert await store.find_invitation(b"\x00digest\xff") == invited
    assert await store.find_invitation(b"") is None
    assert await store.find_invitation(b"\x00digest") is None


async def test_a_spent_claim_says_when_and_where_and_the_key_has_its_secret(store: KeyStore) -> None:
    asked = await ask(store, a_key(has_secret=False))
    later = NOON + timedelta(minutes=1)
    await spend(store, asked, at=later, client="192.0.2.7")
    spent = Claim(LAPSES, claimed_at=later, claimed_from="192.0.2.7")
    assert await found(store, asked) == replace(asked, secrets=(KnownSecret("claimed!", later),), claim=spent)
    secret = await store.read_secret("claimed!")
    assert secret is not None
    assert (secret.key_hash, secret.principal.key_id, secret.principal.grant) == ("hash", asked.key_id, asked.grant)
    assert await store.has_secrets()


async def test_a_claim_is_spent_once(store: KeyStore) -> None:
    asked = await ask(store, a_key(has_secret=False))
    await spend(store, asked)
    claimed = await found(store, asked)
    with pytest.raises(ClaimNotOpenError):
        await spend(store, asked, prefix="another!", at=NOON + MOMENT, client="192.0.2.7")
    assert await found(store, asked) == claimed
    assert await store.read_secret("another!") is None


async def test_what_was_never_to_be_claimed_cannot_be(store: KeyStore) -> None:
    key = await add(store, a_key())
    for unclaimable in (key, a_key(1)):
        with pytest.raises(ClaimNotOpenError):
            await spend(store, unclaimable)
    assert await store.read_secret("claimed!") is None


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=24), timedelta(days=30)])
async def test_the_claim_of_a_rotation_takes_the_place_of_a_spent_one(store: KeyStore, overlap: timedelta) -> None:
    asked = await ask(store, a_key(has_secret=False))
    await spend(store, asked)
    for number in range(2):
        offered = Claim(LAPSES, overlap=overlap)
        await store.change("ada", deciding(PutClaim(asked.key_id, offered)))
        kept = await found(store, asked)
        assert kept is not None
        assert kept.claim == offered
        await spend(store, asked, prefix=f"again {number}")


async def test_a_taken_prefix_spends_no_claim(store: KeyStore) -> None:
    await add(store, a_key(1))
    asked = await ask(store, a_key(2, has_secret=False))
    with pytest.raises(PrefixTakenError):
        await spend(store, asked, prefix=a_prefix(1))
    assert await found(store, asked) == asked
    await spend(store, asked)


async def test_of_many_who_spend_one_claim_through_many_connections_one_does(
    store: KeyStore, other_ring: KeyRing, world: World
) -> None:
    asked = await ask(store, a_key(has_secret=False))
    results = await asyncio.gather(
        *(spend([store, other_ring.store][number % 2], asked, prefix=a_prefix(number)) for number in range(50)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["ClaimNotOpenError"] * 49 + ["NoneType"]
    assert world.sql("SELECT prefix FROM secrets") == [(a_prefix(results.index(None)),)]


async def test_keys_whose_claim_has_lapsed_are_listed_only_with_the_ended(store: KeyStore) -> None:
    asked, claimed, revoked = [await ask(store, a_key(number, has_secret=False)) for number in range(3)]
    await spend(store, claimed)
    await revoke(store, revoked)

    async def listed(now: datetime, *, include_ended: bool = False) -> set[str]:
        page = await store.list_keys("ada", include_ended=include_ended, now=now, after=None, limit=9)
        assert list(page) == list(await store.list_all_keys("ada", include_ended=include_ended, now=now))
        return {key.key_id for key in page}

    assert await listed(LAPSES - MOMENT) == {asked.key_id, claimed.key_id}
    assert await listed(LAPSES) == {claimed.key_id}
    assert await listed(LAPSES, include_ended=True) == {asked.key_id, claimed.key_id, revoked.key_id}


async def test_a_store_knows_whether_anybody_ever_had_a_key(store: KeyStore) -> None:
    assert not await store.has_secrets()
    await revoke(store, await add(store, a_key()))
    assert await store.has_secrets()


async def test_the_address_is_that_of_the_newest_use(store: KeyStore) -> None:
    key = await add(store, a_key())
    later = NOON + timedelta(hours=1)
    for use, address in (
        (Use(1, NOON, "192.0.2.1"), "192.0.2.1"),
        (Use(1, later, "::1"), "::1"),
        (Use(1, NOON, "192.0.2.2"), "::1"),
        (Use(1, later, "192.0.2.3"), "192.0.2.3"),
        (Use(1, later + MOMENT), None),
    ):
        await store.record_use({prefix_of(key): use})
        kept = await found(store, key)
        assert kept is not None
        assert kept.last_used_from == address


@pytest.mark.parametrize("newest", [0, 1])
async def test_of_a_key_with_two_secrets_in_use_the_address_is_that_of_the_newest_use(
    store: KeyStore, newest: int
) -> None:
    key = await add(store, a_key())
    await store.change("ada", deciding(AddSecret(key.key_id, a_prefix(2), "hash", NOON)))
    moments = [NOON, NOON]
    moments[newest] += MOMENT
    prefixes = (prefix_of(key), a_prefix(2))
    await store.record_use({prefix: Use(2, moments[at], f"192.0.2.{at}") for at, prefix in enumerate(prefixes)})
    kept = await found(store, key)
    assert kept is not None
    assert (kept.use_count, kept.last_used_at, kept.last_used_from) == (4, NOON + MOMENT, f"192.0.2.{newest}")


async def test_entries_are_listed_newest_first_and_followed_oldest_first(store: KeyStore) -> None:
    for number in range(3):
        key = a_key(number, user_id="ada" if number % 2 else "bob")
        await store.add_event(an_event(key, str(number)))
    followed = await store.follow_events(-9, limit=99)
    assert [entry.number for entry in followed] == [1, 2, 3, 4, 5]
    assert await store.follow_events(3, limit=2) == followed[2:4]
    assert await store.follow_events(6, limit=2) == []
    assert await store.list_events(None, before=99, limit=99) == followed[::-1]
    assert await store.list_events(None, before=4, limit=2) == [followed[2], followed[1]]
    assert [entry.event.detail for entry in await store.list_events("bob", before=99, limit=2)] == ["2", "0"]


async def test_an_event_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    event = an_event(KeyRecord("key_x", "ada", "x", Grant(frozenset(), None, None), None, NOON), "Büro 🗝 'x'")
    await store.add_event(event)
    (entry,) = await store.list_events(None, before=99, limit=1)
    assert (entry.number, entry.event) == (3, event)


async def test_the_address_of_the_server_is_the_one_noted_last(store: KeyStore, other_ring: KeyRing) -> None:
    assert await store.noted_public_url() is None
    for url in ("https://keys.example.com", "https://müller.example"):
        await store.note_public_url(url)
        assert await other_ring.store.noted_public_url() == url
