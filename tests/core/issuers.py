"""Issuers to whom something happens: while they hash, or because their mint repeats itself."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.proofs import Proofs
from tests.mints import with_checksum
from tests.world import World

Event = Callable[[], Awaitable[object]]


class RepeatingMint(KeyMint):
    """Mints the same prefix a number of times before it goes on."""

    def __init__(self, world: World, taken: ApiKey, times: int) -> None:
        super().__init__(world.ring.checksum_secrets)
        self._world = world
        self._taken = taken
        self._times = times

    def mint(self) -> ApiKey:
        if self._times == 0:
            return super().mint()
        self._times -= 1
        made = super().mint()
        body = self._taken.reveal()[:12] + made.reveal()[12:47]
        return ApiKey(with_checksum(self._world, body), tag="mhu_", made_with=made.made_with)


class EventfulHasher(KeyHasher):
    """Something happens while the new key is hashed."""

    def __init__(self, event: Event) -> None:
        super().__init__(cost=CHEAPEST_COST)
        self._event = event

    async def hash(self, key: ApiKey) -> str:
        await self._event()
        return await super().hash(key)


def no_proofs(world: World) -> Proofs:
    return Proofs(None, world.ring.store.record_proofs)


@contextmanager
def repeating_issuer(world: World, taken: ApiKey, *, times: int) -> Iterator[KeyIssuer]:
    mint = RepeatingMint(world, taken, times)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        yield KeyIssuer(world.ring.store, mint, hasher, no_proofs(world))


@contextmanager
def eventful_issuer(world: World, meanwhile: Event) -> Iterator[KeyIssuer]:
    with closing(EventfulHasher(meanwhile)) as hasher:
        yield KeyIssuer(world.ring.store, KeyMint(world.ring.checksum_secrets), hasher, no_proofs(world))
