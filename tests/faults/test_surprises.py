"""Nobody is let in when anything that the verifier or the guard calls raises what nobody expects."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from limits import RateLimitItemPerMinute
from starlette.types import Receive, Scope, Send

from mcp_keys_server import Principal, RequestedGrant
from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.usage import UsageLog
from mcp_keys_server.core.verifier import KeyVerifier
from tests.world import World

pytestmark = pytest.mark.anyio


class SurpriseError(Exception):
    """What nobody expects."""


class Treachery:
    """Counts the calls of whatever is wrapped, of which one raises what nobody expects, or all from then on."""

    def __init__(self, number: int, *, lasts: bool) -> None:
        self.number = number
        self.lasts = lasts
        self.calls = 0

    @property
    def has_struck(self) -> bool:
        return self.calls >= self.number

    def strike(self) -> None:
        self.calls += 1
        if self.calls == self.number or (self.lasts and self.has_struck):
            raise SurpriseError

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **named: object) -> object:
            self.strike()
            return real(*arguments, **named)

        return call

    def wrapped(self, real: object) -> Any:  # noqa: ANN401 - anything that is called
        return _Wrapped(self, real)


class _Wrapped:
    def __init__(self, treachery: Treachery, real: object) -> None:
        self._treachery = treachery
        self._real = real

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return self._treachery.around(getattr(self._real, name))


async def entered(world: World, hasher: KeyHasher, presented: str, treachery: Treachery) -> bool:
    """Whether a request with this key reaches the application, after something of the verifier or the guard raised."""
    has_entered = False

    async def application(_: Scope, __: Receive, ___: Send) -> None:
        nonlocal has_entered
        has_entered = has_entered or treachery.has_struck

    async def nothing(*_: object) -> Any:  # noqa: ANN401 - either receive or send
        return {"type": "http.disconnect"}

    store, wrapped = world.ring.store, treachery.wrapped
    proofs, usage = Proofs(b"p" * 32, store.record_proofs), UsageLog(store.record_use)
    verifier = KeyVerifier(
        wrapped(store),
        wrapped(KeyMint(world.ring.checksum_secrets)),
        wrapped(hasher),
        wrapped(usage),
        wrapped(proofs),
        clock=treachery.around(world.clock),
    )
    failures = Throttle("failures", RateLimitItemPerMinute(60), wrapped(world.ring.counters))
    guard = KeyGuard(application, verifier, wrapped(world.ring.open_responses), failures)
    headers = [(b"x-api-key", presented.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": ("192.0.2.1", 1)}
    with suppress(SurpriseError):
        await guard(scope, nothing, nothing)
    return has_entered


async def a_good_key(world: World) -> str:
    return (await world.key())[1].reveal()


async def a_revoked_key(world: World) -> str:
    record, key = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    return key.reveal()


async def an_expired_key(world: World) -> str:
    _, key = await world.key(requested=RequestedGrant(expires_in_days=1))
    world.clock.advance(days=2)
    return key.reveal()


async def a_key_that_nobody_has(world: World) -> str:
    return KeyMint(world.ring.checksum_secrets).mint().reveal()


async def a_forged_key(world: World) -> str:
    good = await a_good_key(world)
    return good[:-1] + ("A" if good[-1] != "A" else "B")


KEYS = (a_good_key, a_revoked_key, an_expired_key, a_key_that_nobody_has, a_forged_key)


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("warm", [False, True], ids=["first use", "warm"])
@pytest.mark.parametrize("cost", [CHEAPEST_COST, CHEAPEST_COST + 1], ids=["as it is", "raised"])
@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
async def test_nobody_is_let_in_after_a_surprise(
    sqlite_world: World, make: Callable[[World], Awaitable[str]], cost: int, *, warm: bool, lasts: bool
) -> None:
    world, presented = sqlite_world, await make(sqlite_world)
    treachery = Treachery(0, lasts=lasts)
    for number in count(1):
        hasher = KeyHasher(cost=cost)
        if warm:
            await entered(world, hasher, presented, Treachery(10**6, lasts=False))
        treachery = Treachery(number, lasts=lasts)
        assert not await entered(world, hasher, presented, treachery)
        hasher.close()
        if not treachery.has_struck:
            break
    assert treachery.calls > 0


async def test_a_guard_that_goes_on_after_a_surprise_is_found_out(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That this finds nothing otherwise means something."""
    verify, presented = KeyVerifier.verify, await a_good_key(sqlite_world)
    principal = await sqlite_world.ring.verifier.verify(presented)

    async def verify_or_believe(verifier: KeyVerifier, presented: str, **named: Any) -> Principal:  # noqa: ANN401 - its own
        try:
            return await verify(verifier, presented, **named)
        except SurpriseError:
            return principal

    monkeypatch.setattr(KeyVerifier, "verify", verify_or_believe)
    hasher = KeyHasher(cost=CHEAPEST_COST)
    assert await entered(sqlite_world, hasher, presented, Treachery(1, lasts=False))
    hasher.close()
