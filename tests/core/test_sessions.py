"""A session of the pages lasts while it is used, half a day at the most, and never longer than the key behind it."""

import hashlib
from datetime import timedelta

import pytest

from mcp_keys_server import InvalidApiKeyError, Principal, RequestedGrant, open_key_ring
from mcp_keys_server.core.errors import SessionEndedError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.sessions import BETWEEN_NOTES, LONGEST_IDLE, LONGEST_LIFE, MOST_OF_A_KEY
from tests.world import World, open_world

pytestmark = pytest.mark.anyio
TOOLS = frozenset({"keys:*"})
MOMENT = timedelta(microseconds=1)


async def begin(world: World, principal: Principal | None = None) -> str:
    return await world.ring.sessions.begin(principal or await world.principal())


async def ended(world: World, token: str) -> None:
    with pytest.raises(SessionEndedError):
        await world.ring.sessions.principal(token)


def sessions_kept(world: World) -> int:
    return len(world.sql("SELECT 1 FROM sessions"))


async def test_a_session_is_that_of_the_key_which_began_it(world: World) -> None:
    for user in ("ada", "bob"):
        principal = await world.principal(user, RequestedGrant(frozenset({"keys:read"}), frozenset({"keys"}), 1, TOOLS))
        token = await begin(world, principal)
        assert await world.ring.sessions.principal(token) == principal


async def test_the_token_is_not_stored_and_what_is_stored_is_no_token(world: World) -> None:
    token = await begin(world)
    assert len(token) >= 43  # 256 bits
    digest = hashlib.sha256(token.encode()).digest()
    assert digest in world.stored_bytes()
    assert token.encode() not in world.stored_bytes()
    for no_token in (digest.hex(), digest.decode("latin-1")):
        await ended(world, no_token)


async def test_every_session_of_a_key_has_a_token_of_its_own(world: World) -> None:
    ada = await world.principal()
    assert len({await begin(world, ada) for _ in range(20)}) == 20
    assert sessions_kept(world) == 20


async def test_a_key_has_only_so_many_sessions_and_loses_the_oldest(world: World) -> None:
    ada, other = await world.principal(), await world.principal()
    untouched = await begin(world, other)
    tokens = []
    for _ in range(MOST_OF_A_KEY + 2):
        world.clock.advance(seconds=1)
        tokens.append(await begin(world, ada))
    for token in tokens[:2]:
        await ended(world, token)
    for token in [*tokens[2:], untouched]:
        await world.ring.sessions.principal(token)


async def test_a_session_is_over_when_nobody_came_for_so_long(world: World) -> None:
    token = await begin(world)
    world.clock.now += LONGEST_IDLE - MOMENT
    await world.ring.sessions.principal(token)
    world.clock.now += LONGEST_IDLE
    await ended(world, token)


async def test_visits_keep_a_session_open_and_only_so_long(world: World) -> None:
    token = await begin(world)
    end = world.clock.now + LONGEST_LIFE
    while world.clock.now + LONGEST_IDLE - MOMENT < end:
        world.clock.now += LONGEST_IDLE - MOMENT
        await world.ring.sessions.principal(token)
    world.clock.now = end - MOMENT
    await world.ring.sessions.principal(token)
    world.clock.now = end
    await ended(world, token)


async def test_of_visits_close_together_the_first_counts(world: World) -> None:
    token = await begin(world)
    world.clock.now += BETWEEN_NOTES - MOMENT
    await world.ring.sessions.principal(token)
    world.clock.now += LONGEST_IDLE - BETWEEN_NOTES + MOMENT
    await ended(world, token)


async def test_of_visits_a_little_further_apart_each_counts(world: World) -> None:
    token = await begin(world)
    world.clock.now += BETWEEN_NOTES
    await world.ring.sessions.principal(token)
    world.clock.now += LONGEST_IDLE - MOMENT
    await world.ring.sessions.principal(token)


async def test_a_visit_noted_late_does_not_shorten_the_session(world: World) -> None:
    token = await begin(world)
    world.clock.now += 2 * BETWEEN_NOTES
    await world.ring.sessions.principal(token)
    later = world.clock.now
    store = world.ring.sessions._store
    await store.note_visit(hashlib.sha256(token.encode()).digest(), at=later - BETWEEN_NOTES)
    world.clock.now = later + LONGEST_IDLE - MOMENT
    await world.ring.sessions.principal(token)


async def test_a_session_that_was_seen_in_a_time_to_come_is_over(world: World) -> None:
    token = await begin(world)
    world.clock.advance(minutes=-1)
    await world.ring.sessions.principal(token)  # by another machine's clock
    world.clock.advance(microseconds=-1)
    await ended(world, token)


async def test_a_session_that_was_ended_stays_so_and_the_others_go_on(world: World) -> None:
    ada = await world.principal()
    token, other = await begin(world, ada), await begin(world, ada)
    await world.ring.sessions.end(token)
    await world.ring.sessions.end(token)
    await ended(world, token)
    assert await world.ring.sessions.principal(other) == ada


async def test_a_session_ends_at_once_with_the_revocation_of_its_key(world: World) -> None:
    ada, other = await world.principal(), await world.principal()
    token, others = await begin(world, ada), await begin(world, other)
    await world.ring.sessions.principal(token)
    await world.ring.administration.revoke_key(ada.key_id, reason="lost")
    await ended(world, token)
    await world.ring.sessions.principal(others)


async def test_a_session_ends_with_the_life_of_its_key(world: World) -> None:
    token = await begin(world, await world.principal(requested=RequestedGrant(expires_in_days=1 / 1440)))
    world.clock.now += timedelta(minutes=1) - MOMENT
    await world.ring.sessions.principal(token)
    world.clock.now += MOMENT
    await ended(world, token)


async def test_a_session_ends_when_its_user_is_disabled(world: World) -> None:
    token, bobs = await begin(world), await begin(world, await world.principal("bob"))
    world.disable("ada")
    await ended(world, token)
    await world.ring.sessions.principal(bobs)


async def test_sessions_of_long_ago_are_forgotten_when_a_new_one_begins(world: World) -> None:
    ada = await world.principal()
    await begin(world, ada)
    world.clock.now += LONGEST_LIFE - MOMENT
    await begin(world, ada)
    assert sessions_kept(world) == 2
    world.clock.now += MOMENT
    await begin(world, ada)
    assert sessions_kept(world) == 2


async def test_a_session_goes_on_in_every_process_and_after_a_restart(world: World) -> None:
    async with open_world(world.database.another()) as before:
        ada = await before.principal()
        token = await begin(before, ada)
        async with open_key_ring(before.address, bcrypt_cost=CHEAPEST_COST, clock=before.clock) as other:
            assert await other.sessions.principal(token) == ada
    async with open_world(before.database) as after:
        assert await after.ring.sessions.principal(token) == ada
        await after.ring.sessions.end(token)
        await ended(after, token)


async def test_a_text_that_is_no_token_is_a_session_that_has_ended(world: World) -> None:
    token = await begin(world)
    garbage = ("", "A" * 43, "clé-🗝", "\ud800", "\0", token[:-1], f"{token} ", token.swapcase(), "%", "A" * 10_000_000)
    for text in garbage:
        await ended(world, text)
        await world.ring.sessions.end(text)
    await world.ring.sessions.principal(token)


async def test_a_session_token_is_no_api_key_and_an_api_key_no_session_token(world: World) -> None:
    _, key = await world.key()
    token = await begin(world, await world.ring.verifier.verify(key.reveal()))
    with pytest.raises(InvalidApiKeyError):
        await world.ring.verifier.verify(token)
    await ended(world, key.reveal())
    await ended(world, key.prefix)


def test_a_session_is_as_long_as_the_readme_says() -> None:
    assert LONGEST_IDLE.total_seconds() == 30 * 60
    assert LONGEST_LIFE.total_seconds() == 12 * 60 * 60
