"""What every store promises; run against each."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server import Grant, KeyRecord, KeyRing, UserExistsError, UserRecord
from mcp_keys_server.core.errors import PrefixTakenError
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import Use
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def store(world: World) -> KeyStore:
    return world.ring.store


def a_key(number: int = 0, user_id: str = "ada", **fields: object) -> KeyRecord:
    plain: dict[str, object] = {
        "key_id": f"key_{number:016x}",
        "user_id": user_id,
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
