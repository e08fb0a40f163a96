import asyncio
from datetime import timedelta

import pytest

from mcp_keys_server import (
    InvalidFieldError,
    KeyNotFoundError,
    KeyStatus,
    RequestedGrant,
    UserExistsError,
    UserNotFoundError,
    open_key_ring,
)
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio


async def test_users_are_listed_by_their_ids(world: World) -> None:
    await world.ring.administration.add_user("aaron", email="aaron@example.com", name="Aaron")
    users = await world.ring.administration.list_users()
    assert [user.user_id for user in users] == ["aaron", "ada", "bob"]
    assert (users[0].email, users[0].name, users[0].created_at) == ("aaron@example.com", "Aaron", world.clock.now)


async def test_a_user_id_and_an_email_are_somebodys_only_once(world: World) -> None:
    with pytest.raises(UserExistsError):
        await world.ring.administration.add_user("ada")
    with pytest.raises(UserExistsError):
        await world.ring.administration.add_user("ada2", email="ada@example.com")
    assert len(await world.ring.administration.list_users()) == 2


async def test_a_user_is_found_by_id_or_email(world: World) -> None:
    for user in ("ada", "ada@example.com"):
        record, _ = await world.key(user)
        assert record.user_id == "ada"
    with pytest.raises(UserNotFoundError):
        await world.key("nobody")


async def test_an_operators_key_manages_keys_for_ever_unless_said_otherwise(world: World) -> None:
    record, _ = await world.key()
    assert record.grant.scopes == {"keys:read", "keys:write"}
    assert (record.grant.aliases, record.grant.expires_at, record.parent_key_id) == (None, None, None)
    requested = RequestedGrant(frozenset({"x"}), frozenset({"notes"}), 1)
    narrow, _ = await world.key(requested=requested)
    assert narrow.grant.scopes == {"x"}
    assert narrow.grant.aliases == frozenset({"notes"})
    assert narrow.grant.expires_at == world.clock.now + timedelta(days=1)


async def test_the_operator_sees_everybodys_keys_or_one_users(world: World) -> None:
    adas, _ = await world.key("ada")
    bobs, _ = await world.key("bob")
    everybodys = await world.ring.administration.list_keys()
    assert [key.key_id for key in everybodys] == [adas.key_id, bobs.key_id]
    assert [key.key_id for key in await world.ring.administration.list_keys("bob")] == [bobs.key_id]
    world.clock.now += timedelta(seconds=1)
    newer, _ = await world.key("ada")
    everybodys = await world.ring.administration.list_keys()
    assert [key.key_id for key in everybodys] == [newer.key_id, adas.key_id, bobs.key_id]
    with pytest.raises(UserNotFoundError):
        await world.ring.administration.list_keys("nobody")


async def test_the_operator_revokes_anybodys_key(world: World) -> None:
    bobs, _ = await world.key("bob")
    revoked = await world.ring.administration.revoke_key(bobs.key_id, reason="left")
    assert (revoked.user_id, revoked.revoked_reason) == ("bob", "left")
    assert await world.ring.administration.list_keys() == []
    assert len(await world.ring.administration.list_keys(include_ended=True)) == 1
    with pytest.raises(KeyNotFoundError):
        await world.ring.administration.revoke_key("key_0123456789abcdef", reason=None)


async def test_what_a_revoked_key_made_stays_unless_that_is_asked_for(world: World) -> None:
    maker, key = await world.key()
    principal = await world.ring.verifier.verify(key.reveal())
    child, _ = await world.ring.manager.create_key(principal, name="x", requested=NOTHING_SPECIAL)
    await world.ring.administration.revoke_key(maker.key_id, reason=None)
    assert [left.key_id for left in await world.ring.administration.list_keys()] == [child.key_id]


async def test_a_key_that_has_just_ended_is_not_read_again(world: World) -> None:
    record, _ = await world.key()
    world.database.do_after("INSERT", "events", "UPDATE keys SET name = 'Read' WHERE revoked_at IS NOT NULL")
    for name in ("A key", "Read"):
        ended = await world.ring.administration.revoke_key(record.key_id, reason=None)
        assert (ended.name, ended.revoked_at) == (name, world.clock.now)


async def test_two_keys_of_one_name_are_two_keys(world: World) -> None:
    made = [await world.ring.administration.create_key("ada", name="Laptop", requested=NOTHING_SPECIAL) for _ in "ab"]
    assert made[0][0].key_id != made[1][0].key_id
    assert made[0][1].reveal() != made[1][1].reveal()


async def test_a_field_that_breaks_its_rule_is_refused_through_whatever_door(world: World) -> None:
    administration = world.ring.administration
    for user_id, email, name in (("Ada", None, None), ("eve", "eve", None), ("eve", None, "a\nb")):
        with pytest.raises(InvalidFieldError):
            await administration.add_user(user_id, email=email, name=name)
    with pytest.raises(InvalidFieldError, match="^name: "):
        await administration.create_key("ada", name="\x1b[31m", requested=NOTHING_SPECIAL)
    with pytest.raises(InvalidFieldError, match="^user: "):
        await administration.create_key("A B", name="x", requested=NOTHING_SPECIAL)
    with pytest.raises(InvalidFieldError, match="^key_id: "):
        await administration.revoke_key("Laptop", reason=None)
    with pytest.raises(InvalidFieldError, match="^reason: "):
        await administration.revoke_key("key_0123456789abcdef", reason="a\nb")


async def test_a_user_who_is_there_is_found_and_another_is_added(world: World) -> None:
    administration = world.ring.administration
    ada, bob = await administration.list_users()
    for email in (None, "ada@example.com", " ADA@example.com "):
        for named in ("ada", "ada@example.com"):
            assert await administration.find_or_add_user(named, email=email, name="Another name") == ada
    with pytest.raises(UserNotFoundError):
        await administration.find_or_add_user("eve@example.com", email=None, name="Eve")
    eve = await administration.find_or_add_user("eve", email="Eve@example.com", name="Eve")
    assert (eve.user_id, eve.email, eve.name, eve.created_at) == ("eve", "eve@example.com", "Eve", world.clock.now)
    assert await administration.list_users() == [ada, bob, eve]


async def test_nobody_is_taken_for_a_user_with_another_email(world: World) -> None:
    administration = world.ring.administration
    for user_id, email in (("ada", "other@example.com"), ("bob", "bob@example.com"), ("eve", "ada@example.com")):
        with pytest.raises(UserExistsError):
            await administration.find_or_add_user(user_id, email=email, name=None)
    assert [user.user_id for user in await administration.list_users()] == ["ada", "bob"]


async def test_a_field_that_breaks_its_rule_neither_finds_nor_adds_a_user(world: World) -> None:
    for user_id, email, name in (("Ada", None, None), ("ada", "ada", None), ("ada", None, "a\nb"), ("eve", "e", None)):
        with pytest.raises(InvalidFieldError):
            await world.ring.administration.find_or_add_user(user_id, email=email, name=name)
    assert len(await world.ring.administration.list_users()) == 2


async def test_many_who_add_one_user_at_once_all_find_them(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        users = await asyncio.gather(
            *(
                ring.administration.find_or_add_user("eve", email="eve@example.com", name=None)
                for ring in [world.ring, other] * 5
            )
        )
    assert {user.user_id for user in users} == {"eve"}
    assert len(await world.ring.administration.list_users()) == 3


async def test_the_operator_revokes_a_key_that_nobody_has_claimed(world: World) -> None:
    asked = await world.ring.manager.create_unclaimed_key(Person("ada"), name="x", requested=NOTHING_SPECIAL)
    assert await world.ring.administration.list_keys("ada") == [asked]
    revoked = await world.ring.administration.revoke_key(asked.key_id, reason="mistaken")
    assert revoked.status(world.clock()) is KeyStatus.REVOKED
    assert await world.ring.administration.list_keys("ada") == []
