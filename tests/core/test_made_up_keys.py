"""Whoever has stolen a database can make keys up that have to be checked. Nobody else is to wait for that."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import bcrypt
import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyVerifier, TooBusyError
from mcp_keys_server.core import key_hasher
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, MOST_WAITING_FOR_ONE, KeyHasher
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.usage import UsageLog
from tests.imported_keys import SlowBcrypt, settled
from tests.mints import mint_of, with_checksum
from tests.world import World

pytestmark = pytest.mark.anyio
THIEF, GUEST = "192.0.2.1", "198.51.100.1"
MANY = 50


@dataclass
class Scene:
    """A process that has just started and has no proof secret, on a machine with one core."""

    world: World
    hasher: KeyHasher
    verifier: KeyVerifier
    checked: list[str]
    """The prefix of each key that bcrypt was asked about, in that order."""
    slow: SlowBcrypt
    tasks: list[asyncio.Task[object]] = field(default_factory=list)

    def verify(self, presented: str, client: str | None) -> "asyncio.Task[object]":
        task: asyncio.Task[object] = asyncio.ensure_future(self.verifier.verify(presented, client=client))
        self.tasks.append(task)
        return task

    def made_up(self, prefix: str) -> str:
        """A key with this prefix, as somebody makes it who has the checksum secret."""
        mint = KeyMint(self.world.ring.checksum_secrets)
        body = "mhu_" + prefix + mint.mint().reveal()[12:-8]
        return with_checksum(self.world, body)

    async def until_all_are_told(self) -> list[object]:
        self.slow.go.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
def scene(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(key_hasher, "_thread_count", lambda: 1)
    checked: list[str] = []
    slow, check = SlowBcrypt(), bcrypt.checkpw
    slowly = slow.instead_of(check)

    def noted(presented: bytes, key_hash: bytes) -> object:
        checked.append(presented[4:12].decode())
        return slowly(presented, key_hash)

    monkeypatch.setattr(bcrypt, "checkpw", noted)
    store = world.ring.store
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        verifier = KeyVerifier(
            store,
            KeyMint(world.ring.checksum_secrets),
            hasher,
            UsageLog(store.record_use),
            Proofs(None, store.record_proofs),
            clock=world.clock,
        )
        yield Scene(world, hasher, verifier, checked, slow)


async def keys(world: World, count: int) -> list[ApiKey]:
    return [(await world.key())[1] for _ in range(count)]


async def test_a_made_up_key_with_a_right_checksum_is_checked_and_lets_nobody_in(scene: Scene) -> None:
    (target,) = await keys(scene.world, 1)
    scene.verify(scene.made_up(target.prefix), THIEF)
    (refused,) = await scene.until_all_are_told()
    assert isinstance(refused, InvalidApiKeyError)
    assert scene.checked == [target.prefix]


async def test_another_key_waits_for_one_turn_and_not_for_all_that_were_made_up(scene: Scene) -> None:
    target, other = await keys(scene.world, 2)
    for _ in range(MANY):
        scene.verify(scene.made_up(target.prefix), THIEF)
    await settled(scene.world)
    good = scene.verify(other.reveal(), THIEF)  # even from the same network
    await settled(scene.world)
    await scene.until_all_are_told()
    assert good.exception() is None
    assert scene.checked.index(other.prefix) <= 3  # after what ran, what was next, and a turn of the other name


async def test_another_network_waits_for_one_turn_whatever_prefixes_are_known(scene: Scene) -> None:
    *targets, other = await keys(scene.world, MANY + 1)
    for target in targets:
        scene.verify(scene.made_up(target.prefix), THIEF)
    await settled(scene.world)
    good = scene.verify(other.reveal(), GUEST)
    await settled(scene.world)
    await scene.until_all_are_told()
    assert good.exception() is None
    assert scene.checked.index(other.prefix) <= 3


async def test_the_owner_of_the_prefix_is_let_in_from_another_network(scene: Scene) -> None:
    (target,) = await keys(scene.world, 1)
    for _ in range(MOST_WAITING_FOR_ONE + MANY):
        scene.verify(scene.made_up(target.prefix), THIEF)
    await settled(scene.world)
    good = scene.verify(target.reveal(), GUEST)
    await settled(scene.world)
    told = await scene.until_all_are_told()
    assert good.exception() is None
    assert sum(isinstance(one, TooBusyError) for one in told) == MANY - 2  # one is checked and one is next
    assert sum(isinstance(one, InvalidApiKeyError) for one in told) == MOST_WAITING_FOR_ONE + 2


async def test_those_who_do_not_wait_for_the_answer_leave_no_more_work_than_others(scene: Scene) -> None:
    (target,) = await keys(scene.world, 1)
    for _ in range(3):
        for _ in range(MANY):
            scene.verify(scene.made_up(target.prefix), THIEF)
        await settled(scene.world)
        for task in scene.tasks:
            task.cancel()
        await settled(scene.world)
    (good,) = [scene.verify(target.reveal(), GUEST)]
    await settled(scene.world)
    await scene.until_all_are_told()
    assert good.exception() is None
    assert len(scene.checked) <= MOST_WAITING_FOR_ONE + 3


async def test_a_key_is_made_while_very_many_are_made_up(scene: Scene) -> None:
    """It waits for the check that runs and for the next one."""
    (target,) = await keys(scene.world, 1)
    for _ in range(MANY):
        scene.verify(scene.made_up(target.prefix), THIEF)
    await settled(scene.world)
    made = asyncio.ensure_future(scene.hasher.hash(mint_of(b"secret").mint()))
    await settled(scene.world)
    checked_before: list[int] = []
    made.add_done_callback(lambda _: checked_before.append(len(scene.checked)))
    await scene.until_all_are_told()
    assert (await made).startswith("$2b$")
    assert checked_before[0] < MANY / 2
