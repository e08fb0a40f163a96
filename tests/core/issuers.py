"""Issuers to whom something happens: while they hash, or because their mint repeats itself."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.proofs import Proofs
from tests.world import World

Event = Callable[[], Awaitable[object]]


class RepeatingMint(KeyMint):
    """Mints the same prefix a number of times before it goes on."""

    def __init__(self, checksum_secret: bytes, taken: ApiKey, times: int) -> None:
        super().__init__(checksum_secret)
        self._taken = taken
        self._times = times

    def mint(self) -> ApiKey:
        if self._times == 0:
            return super().mint()
        self._times -= 1
        body = self._taken.reveal()[:12] + super().mint().reveal()[12:47]
        return ApiKey(body + self._checksum(body), tag="mhu_")


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
    mint = RepeatingMint(world.ring.store.checksum_secret, taken, times)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        yield KeyIssuer(world.ring.store, mint, hasher, no_proofs(world))


@contextmanager
def eventful_issuer(world: World, meanwhile: Event) -> Iterator[KeyIssuer]:
    with closing(EventfulHasher(meanwhile)) as hasher:
        yield KeyIssuer(world.ring.store, KeyMint(world.ring.store.checksum_secret), hasher, no_proofs(world))
