"""A race within one process, whose memory of what was proven is warm, or is being filled."""

import asyncio
import secrets

import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyRecord, KeyRing, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import SecretRecord
from tests.world import World

pytestmark = pytest.mark.anyio
KEYS = 200
VERIFICATIONS_OF_EACH = 50


class Race:
    """Verifications of a key that begin before, during and after its revocation, at chance."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._is_revoked = False
        self.accepted = 0
        self.accepted_late = 0
        """Of these, the ones that began when the revocation had returned."""
        self.refused = 0

    async def run(self, record: KeyRecord, key: ApiKey, *, is_warm: bool) -> None:
        self._is_revoked = False
        if is_warm:
            await self._ring.verifier.verify(key.reveal())
        verifications = [asyncio.ensure_future(self._verify(key)) for _ in range(VERIFICATIONS_OF_EACH // 2)]
        await self._ring.administration.revoke_key(record.key_id, reason=None)
        self._is_revoked = True
        verifications += [asyncio.ensure_future(self._verify(key)) for _ in range(VERIFICATIONS_OF_EACH // 2)]
        await asyncio.gather(*verifications)

    async def _verify(self, key: ApiKey) -> None:
        for _ in range(secrets.randbelow(20)):
            await asyncio.sleep(0)
        begins_late = self._is_revoked
        try:
            await self._ring.verifier.verify(key.reveal())
        except InvalidApiKeyError:
            self.refused += 1
        else:
            self.accepted += 1
            self.accepted_late += begins_late


async def raced(world: World, ring: KeyRing, keys: int) -> Race:
    race = Race(ring)
    for number in range(keys):
        await race.run(*await world.key(), is_warm=bool(number % 2))
    return race


async def test_of_ten_thousand_verifications_none_is_accepted_that_begins_after_the_revocation(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        race = await raced(world, ring, KEYS)
    assert race.accepted_late == 0
    assert race.accepted > 0
    assert race.accepted + race.refused == KEYS * VERIFICATIONS_OF_EACH


async def test_a_process_that_remembers_what_was_decided_is_found_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That none is found means something."""
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        remembered: dict[str, SecretRecord | None] = {}
        read = ring.store.read_secret

        async def remember(prefix: str) -> SecretRecord | None:
            if prefix not in remembered:
                remembered[prefix] = await read(prefix)
            return remembered[prefix]

        monkeypatch.setattr(ring.store, "read_secret", remember)
        assert (await raced(world, ring, 10)).accepted_late > 0
