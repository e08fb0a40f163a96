"""What every store promises; run against each."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server import Grant, KeyRecord, KeyRing, StoreUnavailableError, UserExistsError, UserRecord
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNoLongerGoodError, PrefixTakenError
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import Claim, Claimant, Use
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def store(world: World) -> KeyStore:
    return world.ring.store


def a_key(number: int = 0, **fields: object) -> KeyRecord:
    plain: dict[str, object] = {
        "key_id": f"key_{number:016x}",
        "user_id": "ada",
        "name": "Büro 🗝",
        "prefix": f"{number:08d}",
        "grant": Grant(frozenset({"keys:read", "orders:read"}), frozenset({"keys", "notes"}), NOON + timedelta(days=1)),
        "parent_key_id": None,
        "created_at": NOON,
    }
    return KeyRecord(**(plain | fields))  # type: ignore[arg-type]


async def test_a_key_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    full = a_key(1)
    bare = a_key(2, grant=Grant(frozenset(), None, None), parent_key_id=full.key_id)
    for key in (full, bare):
        await store.add_key(key, "hash")
        assert await store.find_key("ada", key.key_id) == key


async def test_a_user_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    user = UserRecord("eve", "eve@example.com", "Eve 🐍", NOON)
    await store.add_user(user)
    assert await store.find_user("eve") == user
    assert await store.find_user("eve@example.com") == user
    assert await store.find_user("nobody") is None


async def test_times_are_kept_in_utc_whatever_zone_they_come_in(store: KeyStore) -> None:
    from zoneinfo import ZoneInfo

    await store.add_key(a_key(created_at=NOON.astimezone(ZoneInfo("Asia/Kathmandu"))), "hash")
    found = await store.find_key("ada", a_key().key_id)
    assert found is not None
    assert found.created_at == NOON
    assert found.created_at.utcoffset() == timedelta(0)


async def test_the_record_of_a_secret_holds_what_decides_about_it(store: KeyStore) -> None:
    key = a_key()
    await store.add_key(key, "hash")
    secret = await store.read_secret(prefix_of(key))
    assert secret is not None
    assert (secret.key_hash, secret.revoked, secret.owner_disabled) == ("hash", False, False)
    assert (secret.principal.user_id, secret.principal.key_id, secret.principal.grant) == ("ada", key.key_id, key.grant)
    assert "hash'" not in repr(secret)
    await store.revoke_key("ada", key.key_id, at=NOON, reason=None)
    after = await store.read_secret(prefix_of(key))
    assert after is not None
    assert after.revoked
    assert await store.read_secret("unknown!") is None


async def test_a_taken_prefix_adds_nothing(store: KeyStore) -> None:
    await store.add_key(a_key(1), "hash")
    with pytest.raises(PrefixTakenError):
        await store.add_key(a_key(2, prefix=a_key(1).prefix), "other hash")
    assert await store.find_key("ada", a_key(2).key_id) is None
    secret = await store.read_secret(prefix_of(a_key(1)))
    assert secret is not None
    assert secret.key_hash == "hash"


async def test_a_taken_user_id_or_email_adds_nothing(store: KeyStore) -> None:
    for taken in (UserRecord("ada", None, None, NOON), UserRecord("eve", "ada@example.com", None, NOON)):
        with pytest.raises(UserExistsError):
            await store.add_user(taken)
    assert [user.user_id for user in await store.list_users()] == ["ada", "bob"]


async def test_a_key_hash_is_replaced_only_if_it_is_still_the_old_one(store: KeyStore) -> None:
    key = a_key()
    await store.add_key(key, "old")
    await store.replace_key_hash(prefix_of(key), old="old", new="new")
    await store.replace_key_hash(prefix_of(key), old="old", new="newer")
    secret = await store.read_secret(prefix_of(key))
    assert secret is not None
    assert secret.key_hash == "new"


async def test_a_revocation_names_its_owner_and_keeps_its_first_end(store: KeyStore) -> None:
    key = a_key()
    await store.add_key(key, "hash")
    assert await store.revoke_key("bob", key.key_id, at=NOON, reason="mine!") is None
    assert await store.find_key("bob", key.key_id) is None
    first = await store.revoke_key("ada", key.key_id, at=NOON, reason="lost")
    again = await store.revoke_key("ada", key.key_id, at=NOON + timedelta(days=1), reason="found")
    assert first == again
    assert first is not None
    assert (first.revoked_at, first.revoked_reason) == (NOON, "lost")


async def test_the_owner_of_a_key_is_found(store: KeyStore) -> None:
    await store.add_key(a_key(user_id="bob"), "hash")
    assert await store.find_owner(a_key().key_id) == "bob"
    assert await store.find_owner("key_unknown") is None


async def test_a_list_is_newest_first_and_goes_on_after_a_key(store: KeyStore) -> None:
    for number in range(4):
        await store.add_key(a_key(number, created_at=NOON + timedelta(seconds=number // 2)), "hash")
    await store.add_key(a_key(9, user_id="bob"), "hash")
    ids = [f"key_{number:016x}" for number in (3, 2, 1, 0)]

    async def listed(after: str | None, limit: int) -> list[str]:
        return [
            key.key_id for key in await store.list_keys("ada", include_ended=True, now=NOON, after=after, limit=limit)
        ]

    assert await listed(None, 10) == ids
    assert await listed(None, 2) == ids[:2]
    assert await listed(ids[1], 10) == ids[2:]
    assert await listed(ids[3], 10) == []


async def test_use_is_added_up_and_the_last_one_stays_the_last(store: KeyStore) -> None:
    key = a_key()
    await store.add_key(key, "hash")
    await store.record_use({key.key_id: Use(2, NOON + timedelta(hours=1)), "key_unknown": Use(1, NOON)})
    await store.record_use({key.key_id: Use(3, NOON)})
    found = await store.find_key("ada", key.key_id)
    assert found is not None
    assert (found.use_count, found.last_used_at) == (5, NOON + timedelta(hours=1))


async def test_the_checksum_secret_stays_with_the_database(world: World, other_ring: KeyRing) -> None:
    assert len(world.ring.store.checksum_secret) == 32
    assert other_ring.store.checksum_secret == world.ring.store.checksum_secret


async def test_a_change_is_seen_through_every_other_connection_at_once(store: KeyStore, other_ring: KeyRing) -> None:
    for number in range(50):
        key = a_key(number)
        await store.add_key(key, "hash")
        before = await other_ring.store.read_secret(prefix_of(key))
        assert before is not None
        assert not before.revoked
        await store.revoke_key("ada", key.key_id, at=NOON, reason=None)
        after = await other_ring.store.read_secret(prefix_of(key))
        assert after is not None
        assert after.revoked


async def test_many_writers_at_once_all_get_their_turn(store: KeyStore, other_ring: KeyRing) -> None:
    await asyncio.gather(
        *((store if number % 2 else other_ring.store).add_key(a_key(number), "hash") for number in range(100))
    )
    assert len(await store.list_all_keys(None, include_ended=True, now=NOON)) == 100


async def test_a_cancelled_write_is_whole_or_absent_and_holds_up_nobody(store: KeyStore) -> None:
    for number in range(100):
        write = asyncio.create_task(store.add_key(a_key(number), "hash"))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        write.cancel()
        await asyncio.wait([write])
    await store.add_key(a_key(1_000), "hash")
    for key in await store.list_all_keys(None, include_ended=True, now=NOON):
        assert await store.read_secret(prefix_of(key)) is not None


async def test_a_store_says_that_it_answers(store: KeyStore) -> None:
    await store.check()


LAPSES = NOON + timedelta(minutes=15)
MOMENT = timedelta(microseconds=1)
NOBODY = Claimant(None, None)


async def ask(store: KeyStore, number: int = 0, *, digest: bytes | None = None, **fields: object) -> KeyRecord:
    """A key that waits to be claimed, as its record is then."""
    claim = Claim(LAPSES, by_invitation=digest is not None)
    key = a_key(number, **(fields | {"prefix": None}))
    await store.add_unclaimed_key(key, claim, invitation_digest=digest)
    return replace(key, claim=claim)


async def spend(
    store: KeyStore, key: KeyRecord, claimant: Claimant = NOBODY, *, prefix: str = "claimed!", at: datetime = NOON
) -> KeyRecord:
    return await store.spend_claim(key.key_id, claimant, prefix=prefix, key_hash="hash", at=at)


async def test_an_unclaimed_key_comes_back_as_it_was_put_in(store: KeyStore) -> None:
    asked = await ask(store, 1)
    invited = await ask(store, 2, digest=b"digest")
    assert await store.find_key("ada", asked.key_id) == asked
    assert await store.find_key("ada", invited.key_id) == invited
    assert await store.find_key("bob", asked.key_id) is None
    assert not await store.has_secrets()


async def test_a_key_is_found_by_the_digest_of_its_invitation(store: KeyStore) -> None:
    await ask(store, 1)
    invited = await ask(store, 2, digest=b"\x00digest\xff")
    await ask(store, 3, digest=b"another")
    assert await store.find_invitation(b"\x00digest\xff") == await store.find_key("ada", invited.key_id)
    assert await store.find_invitation(b"") is None
    assert await store.find_invitation(b"\x00digest") is None


async def test_a_spent_claim_says_when_and_where_and_the_key_has_its_secret(store: KeyStore) -> None:
    asked = await ask(store)
    claimed = await spend(store, asked, Claimant(None, "192.0.2.7"), at=NOON + timedelta(minutes=1))
    spent = Claim(LAPSES, claimed_at=NOON + timedelta(minutes=1), claimed_from="192.0.2.7")
    assert claimed == replace(asked, prefix="claimed!", claim=spent)
    assert await store.find_key("ada", asked.key_id) == claimed
    secret = await store.read_secret("claimed!")
    assert secret is not None
    assert (secret.key_hash, secret.principal.key_id, secret.principal.grant) == ("hash", asked.key_id, asked.grant)
    assert await store.has_secrets()


async def test_a_claim_is_spent_before_its_end_and_not_at_it(store: KeyStore, world: World) -> None:
    asked = await ask(store)
    await not_spent(store, world, asked, at=LAPSES)
    await spend(store, asked, at=LAPSES - MOMENT)


async def test_a_claim_is_spent_before_the_end_of_its_key_and_not_at_it(store: KeyStore, world: World) -> None:
    end = NOON + timedelta(minutes=5)
    asked = await ask(store, grant=Grant(frozenset(), None, end))
    await not_spent(store, world, asked, at=end)
    await spend(store, asked, at=end - MOMENT)


async def test_a_claim_is_spent_once(store: KeyStore) -> None:
    asked = await ask(store)
    claimed = await spend(store, asked)
    with pytest.raises(ClaimNotOpenError):
        await spend(store, asked, Claimant(None, "192.0.2.7"), prefix="another!", at=NOON + MOMENT)
    assert await store.find_key("ada", asked.key_id) == claimed
    assert await store.read_secret("another!") is None


async def test_a_claim_to_a_revoked_key_is_not_spent(store: KeyStore, world: World) -> None:
    asked = await ask(store)
    await store.revoke_key("ada", asked.key_id, at=NOON, reason=None)
    await not_spent(store, world, asked)


async def test_a_claim_to_what_a_key_asked_for_that_was_revoked_since_is_not_spent(
    store: KeyStore, world: World
) -> None:
    maker = a_key(1)
    await store.add_key(maker, "hash")
    asked = await ask(store, 2, parent_key_id=maker.key_id)
    await store.revoke_key("ada", maker.key_id, at=NOON, reason=None)
    await not_spent(store, world, asked)


async def test_a_claim_to_the_key_of_a_disabled_owner_is_not_spent(store: KeyStore, world: World) -> None:
    asked = await ask(store)
    world.disable("ada")
    await not_spent(store, world, asked)


async def test_a_claim_is_not_spent_with_a_key_that_is_not_good_any_more(store: KeyStore, world: World) -> None:
    asked = await ask(store)
    revoked, expired, good = a_key(1), a_key(2, grant=Grant(frozenset(), None, NOON)), a_key(3)
    for key in (revoked, expired, good):
        await store.add_key(key, "hash")
    await store.revoke_key("ada", revoked.key_id, at=NOON, reason=None)
    for key in (revoked, expired):
        await not_spent(store, world, asked, Claimant(key.key_id, None), error=KeyNoLongerGoodError)
    await spend(store, asked, Claimant(good.key_id, None))


async def test_what_was_never_to_be_claimed_cannot_be(store: KeyStore, world: World) -> None:
    key = a_key()
    await store.add_key(key, "hash")
    for unclaimable in (key, a_key(1)):
        await not_spent(store, world, unclaimable)


async def not_spent(
    store: KeyStore,
    world: World,
    key: KeyRecord,
    claimant: Claimant = NOBODY,
    *,
    at: datetime = NOON,
    error: type[Exception] = ClaimNotOpenError,
) -> None:
    """Nothing is changed."""
    contents = "SELECT * FROM keys LEFT JOIN claims USING (key_id) LEFT JOIN secrets USING (key_id)"
    before = world.sql(contents)
    with pytest.raises(error):
        await spend(store, key, claimant, at=at)
    assert world.sql(contents) == before
    assert await store.read_secret("claimed!") is None


async def test_a_taken_prefix_spends_no_claim(store: KeyStore) -> None:
    await store.add_key(a_key(1), "hash")
    asked = await ask(store, 2)
    with pytest.raises(PrefixTakenError):
        await spend(store, asked, prefix=prefix_of(a_key(1)))
    assert await store.find_key("ada", asked.key_id) == asked
    await spend(store, asked)


async def test_of_many_who_spend_one_claim_through_many_connections_one_does(
    store: KeyStore, other_ring: KeyRing, world: World
) -> None:
    asked = await ask(store)
    results = await asyncio.gather(
        *(spend([store, other_ring.store][number % 2], asked, prefix=f"{number:08d}") for number in range(50)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["ClaimNotOpenError"] * 49 + ["KeyRecord"]
    (claimed,) = (result for result in results if isinstance(result, KeyRecord))
    assert world.sql("SELECT prefix FROM secrets") == [(claimed.prefix,)]


async def test_a_key_that_is_not_good_any_more_asks_for_none(store: KeyStore) -> None:
    maker = a_key(1)
    await store.add_key(maker, "hash")
    await store.revoke_key("ada", maker.key_id, at=NOON, reason=None)
    with pytest.raises(KeyNoLongerGoodError):
        await ask(store, 2, parent_key_id=maker.key_id)
    assert await store.find_key("ada", a_key(2).key_id) is None


async def test_an_invitation_revokes_the_open_ones_of_its_user(store: KeyStore) -> None:
    await ask(store, 1, digest=b"older")
    bobs, asked = await ask(store, 2, digest=b"bob's", user_id="bob"), await ask(store, 3)
    await ask(store, 4, digest=b"newer", created_at=NOON + MOMENT)
    revoked = await store.find_invitation(b"older")
    assert revoked is not None
    assert revoked.revoked_at == NOON + MOMENT
    assert await store.find_key("bob", bobs.key_id) == bobs
    assert await store.find_key("ada", asked.key_id) == asked


async def test_an_invitation_leaves_alone_what_was_used_or_has_lapsed_or_was_revoked(store: KeyStore) -> None:
    used = await ask(store, 1, digest=b"used")
    claimed = await spend(store, used)
    revoked = await ask(store, 2, digest=b"revoked", created_at=LAPSES)
    await store.revoke_key("ada", revoked.key_id, at=NOON, reason="mistaken")
    await ask(store, 3, digest=b"lapsed")
    await ask(store, 4, digest=b"newer", created_at=LAPSES)
    assert await store.find_invitation(b"used") == claimed
    for digest, reason in ((b"revoked", "mistaken"), (b"lapsed", None)):
        found = await store.find_invitation(digest)
        assert found is not None
        assert found.revoked_reason == reason


async def test_keys_whose_claim_has_lapsed_are_listed_only_with_the_ended(store: KeyStore) -> None:
    asked = await ask(store, 1)
    claimed = await spend(store, await ask(store, 2))
    revoked = await ask(store, 3)
    await store.revoke_key("ada", revoked.key_id, at=NOON, reason=None)

    async def listed(now: datetime, *, include_ended: bool = False) -> set[str]:
        page = await store.list_keys("ada", include_ended=include_ended, now=now, after=None, limit=9)
        assert list(page) == list(await store.list_all_keys("ada", include_ended=include_ended, now=now))
        return {key.key_id for key in page}

    assert await listed(LAPSES - MOMENT) == {asked.key_id, claimed.key_id}
    assert await listed(LAPSES) == {claimed.key_id}
    assert await listed(LAPSES, include_ended=True) == {asked.key_id, claimed.key_id, revoked.key_id}


async def test_a_new_name_is_given_by_the_owner_and_changes_nothing_else(store: KeyStore) -> None:
    key, other = a_key(1), a_key(2)
    for added in (key, other):
        await store.add_key(added, "hash")
    assert await store.rename_key("bob", key.key_id, "Bob's") is None
    assert await store.rename_key("ada", key.key_id, "Küche") == replace(key, name="Küche")
    assert await store.find_key("ada", key.key_id) == replace(key, name="Küche")
    assert await store.find_key("ada", other.key_id) == other


async def test_a_store_knows_whether_anybody_ever_had_a_key(store: KeyStore) -> None:
    assert not await store.has_secrets()
    await store.add_key(a_key(), "hash")
    await store.revoke_key("ada", a_key().key_id, at=NOON, reason=None)
    assert await store.has_secrets()


async def test_the_address_is_that_of_the_newest_use(store: KeyStore) -> None:
    key = a_key()
    await store.add_key(key, "hash")
    later = NOON + timedelta(hours=1)
    for use, address in (
        (Use(1, NOON, "192.0.2.1"), "192.0.2.1"),
        (Use(1, later, "::1"), "::1"),
        (Use(1, NOON, "192.0.2.2"), "::1"),
        (Use(1, later, "192.0.2.3"), "192.0.2.3"),
        (Use(1, later + MOMENT), None),
    ):
        await store.record_use({key.key_id: use})
        found = await store.find_key("ada", key.key_id)
        assert found is not None
        assert found.last_used_from == address


async def test_a_damaged_claim_or_session_is_the_stores_trouble_and_never_access(store: KeyStore, world: World) -> None:
    await ask(store, digest=b"digest")
    token = await world.ring.sessions.begin(await world.principal())
    for damage in ("garbage", "", "2099-01-01T00:00:00"):
        world.sql(f"UPDATE claims SET lapses_at = '{damage}'")
        world.sql(f"UPDATE sessions SET signed_in_at = '{damage}'")
        with pytest.raises(StoreUnavailableError):
            await store.find_invitation(b"digest")
        with pytest.raises(StoreUnavailableError):
            await world.ring.sessions.principal(token)
