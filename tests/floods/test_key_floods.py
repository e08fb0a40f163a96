"""Floods of keys that are not good: nobody is let in by them, and everybody else is. For what they cost, and who waits
for whom at bcrypt, see ``python -m tests.floods.key_floods`` and tests/core/test_made_up_keys.py.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from mcp_keys_server import InvalidApiKeyError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import SecretRecord
from tests.databases import Database
from tests.floods import broken_server
from tests.floods.broken_server import LETS_IN, LOCKS_OUT
from tests.floods.forgeries import NEVER_CHECKED, NEVER_LOOKED_UP, Kind, Loot
from tests.floods.key_floods import flood
from tests.floods.scene import NOT_MEASURED, SETTINGS, prepare
from tests.imported_keys import hub_key, put_hub_key
from tests.running_server import PROGRAM, RunningServer, running_server
from tests.world import World

pytestmark = pytest.mark.anyio
CONNECTIONS = 30
SECONDS = 1.0
COLD = 4
FORGERIES_OF_ONE_VICTIM = 10_000


@contextmanager
def flooded_server(database: Database, program: Sequence[str] = PROGRAM) -> Iterator[RunningServer]:
    with running_server(database, program=program, **SETTINGS, **NOT_MEASURED) as server:
        yield server


async def test_beside_a_flood_of_any_kind_everybody_with_a_good_key_is_let_in_and_nobody_else(
    database: Database,
) -> None:
    scene = await prepare(database, cold=len(Kind) * (COLD + 1) - 2, bcrypt_cost=CHEAPEST_COST)
    complaints = {}
    with flooded_server(database) as server:
        for number, kind in enumerate(Kind):
            part = replace(scene, cold=scene.cold[number * (COLD + 1) : (number + 1) * (COLD + 1)])
            report = await flood(server, part, kind, connections=CONNECTIONS, seconds=SECONDS)
            assert report.cold.statuses.total() == COLD
            complaints[kind] = report.complaints()
    assert complaints == {kind: [] for kind in Kind}


async def test_ten_thousand_forgeries_with_ones_prefix_lock_nobody_out(sqlite_database: Database) -> None:
    scene = await prepare(sqlite_database, cold=COLD, bcrypt_cost=CHEAPEST_COST)
    aimed = replace(scene, loot=replace(scene.loot, prefixes=scene.loot.prefixes[:1]))
    with flooded_server(sqlite_database) as server:
        report = await flood(
            server, aimed, Kind.KNOWN_PREFIX, connections=CONNECTIONS, seconds=0, at_least=FORGERIES_OF_ONE_VICTIM
        )
    assert report.complaints() == []
    assert report.forged.total() >= FORGERIES_OF_ONE_VICTIM


@pytest.mark.parametrize(
    ("defect", "kind", "found"),
    [
        (LETS_IN, Kind.STOLEN_CHECKSUM, "the flood was answered with"),
        (LOCKS_OUT, Kind.KNOWN_PREFIX, "victim: "),
    ],
)
async def test_a_server_that_lets_a_forgery_in_or_locks_a_victim_out_is_found_out(
    sqlite_database: Database, *, defect: str, kind: Kind, found: str
) -> None:
    """That nothing is found in a good one means something."""
    scene = await prepare(sqlite_database, cold=2, bcrypt_cost=CHEAPEST_COST)
    with flooded_server(sqlite_database, [*broken_server.PROGRAM, defect]) as server:
        report = await flood(server, scene, kind, connections=CONNECTIONS, seconds=0, at_least=600)
    assert any(complaint.startswith(found) for complaint in report.complaints())


@pytest.mark.parametrize("kind_of_flood", Kind)
async def test_what_a_forgery_costs(
    world: World, bcrypt_calls: list[str], monkeypatch: pytest.MonkeyPatch, kind_of_flood: Kind
) -> None:
    """Neither the store nor bcrypt for one without the right checksum, and no bcrypt for one that was revoked."""
    many = 100
    (_, target), (gone, revoked) = await world.key(), await world.key()
    imported = hub_key()
    await put_hub_key(world.ring.store, "ada", imported)
    await world.ring.administration.revoke_key(gone.key_id, reason=None)
    loot = Loot(world.ring.checksum_secrets.making, [target.prefix], [imported[4:12]], [revoked.reveal()])
    reads = Counter[str]()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        read = ring.store.read_secret

        async def counted(prefix: str) -> SecretRecord | None:
            reads[prefix] += 1
            return await read(prefix)

        monkeypatch.setattr(ring.store, "read_secret", counted)
        bcrypt_calls.clear()
        for forgery in loot.forgeries(kind_of_flood, many):
            with pytest.raises(InvalidApiKeyError):
                await ring.verifier.verify(forgery, client="192.0.2.1")
    assert reads.total() == (0 if kind_of_flood in NEVER_LOOKED_UP else many)
    assert len(bcrypt_calls) == (0 if kind_of_flood in NEVER_CHECKED else many)
