"""A database with users whose keys are good, and what somebody knows of them who floods its server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mcp_keys_server import KeyRing, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.databases import Database
from tests.floods.forgeries import Loot
from tests.imported_keys import hub_key, put_hub_key

USER: Final = "ada"
SETTINGS: Final = {
    "MCP_KEYS_CALLS_PER_MINUTE": "1000000",
    # Not that with which the keys were made: so the server knows of none of them that it is good, as if it had lost it.
    "MCP_KEYS_PROOF_SECRET": "ab" * 32,
}
NOT_MEASURED: Final = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""What measures coverage would take most of the time."""
WARM_USERS: Final = 4
REVOKED_KEYS: Final = 40


@dataclass(frozen=True)
class Scene:
    warm: Sequence[str]
    """Keys that are in use all the time."""
    victim: str
    """One whose prefix is used in forgeries."""
    cold: Sequence[str]
    """Keys that the server has not seen since it began, imported ones among them."""
    loot: Loot


async def prepare(database: Database, *, cold: int, bcrypt_cost: int) -> Scene:
    """So many cold keys, and one more for afterwards."""
    async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user(USER)
        revoked = await _keys(ring, REVOKED_KEYS)
        for key_id, _ in revoked:
            await ring.administration.revoke_key(key_id, reason=None)
    async with open_key_ring(str(database), bcrypt_cost=bcrypt_cost) as ring:
        *warm, (_, victim) = await _keys(ring, WARM_USERS + 1)
        not_used_yet = [key for _, key in await _keys(ring, cold + 1)]
        target, imported = hub_key(), hub_key()
        for one in (target, imported):
            await put_hub_key(ring.store, USER, one, cost=bcrypt_cost)
        not_used_yet.insert(1, imported)
        prefixes = [victim[4:12], *(key[4:12] for _, key in warm)]
        loot = Loot(ring.checksum_secrets.making, prefixes, [target[4:12]], [key for _, key in revoked])
        return Scene([key for _, key in warm], victim, not_used_yet, loot)


async def _keys(ring: KeyRing, count: int) -> list[tuple[str, str]]:
    """Their ids and plaintexts."""
    create = ring.administration.create_key
    made = [await create(USER, name="x", requested=RequestedGrant()) for _ in range(count)]
    return [(record.key_id, key.reveal()) for record, key in made]
