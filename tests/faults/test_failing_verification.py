"""Nobody is let in by a verification of which any part has failed, and no good key is called bad by one."""

from collections.abc import AsyncIterator
from itertools import count, product
from typing import Any, Literal

import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyRing, StoreUnavailableError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import SecretRecord
from tests.databases import Database
from tests.faults.failing_calls import HOWS, Fault, calls_that_may_fail, failing, without_hurry
from tests.world import World, open_world

pytestmark = pytest.mark.anyio
PROOF_SECRET = b"p" * 32
Answer = Literal["let in", "refused", "unavailable"]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """It makes keys, which other processes verify."""
    with without_hurry():
        async with open_world(database) as opened:
            yield opened


@pytest.fixture
async def cold(world: World) -> AsyncIterator[KeyRing]:
    """A process to which every key is new."""
    with calls_that_may_fail():
        async with open_key_ring(
            world.address, bcrypt_cost=CHEAPEST_COST, proof_secret=PROOF_SECRET, clock=world.clock
        ) as ring:
            yield ring


@pytest.fixture
async def raising(world: World) -> AsyncIterator[KeyRing]:
    """One that puts a stronger hash in the place of every key's."""
    with calls_that_may_fail():
        async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST + 1, clock=world.clock) as ring:
            yield ring


async def violations(
    world: World, ring: KeyRing, kind: str, *, warm: bool = False, over_socket: bool = False, revoked: bool = False
) -> list[str]:
    """What must not be, in words, after each call of a verification has failed in each way, once and from then on."""
    found: list[str] = []
    for how, lasts in product(HOWS[kind], (False, True)):
        for number in count(1):
            record, key = await world.key()
            if warm:
                await ring.verifier.verify(key.reveal())
            if revoked:
                await world.ring.administration.revoke_key(record.key_id, reason=None)
            with failing(Fault(number, how, lasts)) as fault:
                answer = await _answer(ring, key, over_socket=over_socket)
            after = await _answer(ring, key)
            found += _violations(fault, answer, after, revoked=revoked)
            if not fault.struck:
                break
    return found


def _violations(fault: Fault, answer: Answer, after: Answer, *, revoked: bool) -> list[str]:
    right: Answer = "refused" if revoked else "let in"
    found = [] if after == right else [f"{fault}: afterwards {after}"]
    if not fault.struck and answer != right:
        found.append(f"{answer}, although nothing failed")
    if answer == "refused" and not revoked:
        found.append(f"{fault}: a good key was called bad")
    if answer == "let in" and (revoked or fault.struck_last):
        found.append(f"{fault}: let in by what was not read")
    return found


async def _answer(ring: KeyRing, key: ApiKey, *, over_socket: bool = False) -> Answer:
    try:
        await ring.verifier.verify(key.reveal(), over_socket=over_socket)
    except StoreUnavailableError:
        return "unavailable"
    except InvalidApiKeyError:
        return "refused"
    return "let in"


@pytest.mark.parametrize("revoked", [False, True], ids=["good", "revoked"])
@pytest.mark.parametrize("over_socket", [False, True], ids=["read now", "read in this turn"])
@pytest.mark.parametrize("warm", [False, True], ids=["first use", "warm"])
async def test_nobody_is_let_in_by_what_was_not_read(
    world: World, cold: KeyRing, kind: str, *, warm: bool, over_socket: bool, revoked: bool
) -> None:
    assert await violations(world, cold, kind, warm=warm, over_socket=over_socket, revoked=revoked) == []


async def test_nobody_is_let_in_while_a_stronger_hash_is_put_in_its_place(
    world: World, raising: KeyRing, kind: str
) -> None:
    assert await violations(world, raising, kind) == []


async def test_a_verifier_that_goes_by_what_it_remembers_is_found_out(
    world: World, cold: KeyRing, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others "fail open" so: that this finds nothing otherwise means something. So does the next one."""
    read, remembered = type(cold.store).read_secret, dict[str, SecretRecord | None]()

    async def read_or_remember(store: Any, prefix: str) -> SecretRecord | None:  # noqa: ANN401 - either store
        try:
            remembered[prefix] = await read(store, prefix)
        except StoreUnavailableError:
            if prefix not in remembered:
                raise
        return remembered[prefix]

    monkeypatch.setattr(type(cold.store), "read_secret", read_or_remember)
    found = await violations(world, cold, kind, warm=True)
    assert any("let in by what was not read" in each for each in found), found


async def test_a_store_whose_trouble_is_an_unknown_key_is_found_out(
    world: World, cold: KeyRing, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = type(cold.store).read_secret

    async def read_or_not(store: Any, prefix: str) -> SecretRecord | None:  # noqa: ANN401 - either store
        try:
            return await read(store, prefix)
        except StoreUnavailableError:
            return None

    monkeypatch.setattr(type(cold.store), "read_secret", read_or_not)
    found = await violations(world, cold, kind)
    assert any("a good key was called bad" in each for each in found), found
