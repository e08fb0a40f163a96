"""PostgreSQL stopped at once and started again, over and over, while keys are made, claimed, used and revoked.

``python -m tests.faults.restarts --restarts 100 --operations 200000 --out FILE`` does it for long; the tests do it
briefly. What was acknowledged must hold afterwards, and what was not must open nothing.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread

from mcp_keys_server import InvalidApiKeyError, KeyRing, RequestedGrant, StoreUnavailableError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person
from mcp_keys_server.stores.postgres.url import PostgresUrl
from tests.faults.history import History
from tests.faults.judging import judge
from tests.faults.report import give, tell
from tests.postgres_server import PostgresServer, a_postgres_server

REPLICAS: Final = 2
USERS: Final = 24
"""Each does one thing after the other, through one of the replicas."""
ONE_STAYS_OF: Final = 20
"""Of so many keys one is not revoked."""


@dataclass
class Outcome:
    history: History = field(default_factory=History)
    restarts: int = 0
    slowest_return_seconds: float = 0.0
    """From when PostgreSQL was back until every replica was ready."""


@asynccontextmanager
async def replicas(url: str) -> AsyncIterator[list[KeyRing]]:
    async with AsyncExitStack() as stack:
        rings = [open_key_ring(url, bcrypt_cost=CHEAPEST_COST, connections=8) for _ in range(REPLICAS)]
        yield [await stack.enter_async_context(ring) for ring in rings]


async def run(server: PostgresServer, url: str, *, operations: int, restarts: int) -> Outcome:
    """So many restarts, evenly among at least so many acknowledged operations."""
    outcome = Outcome()
    history = outcome.history
    async with replicas(url) as rings, asyncio.TaskGroup() as group:
        for number in range(USERS):
            await rings[0].administration.add_user(f"user{number}")
        living = [group.create_task(_live(history, rings, number)) for number in range(USERS)]
        for number in range(1, restarts + 1):
            await _until_acknowledged(history, operations * number // (restarts + 1))
            await anyio.to_thread.run_sync(server.restart)
            back = time.monotonic()
            for ring in rings:
                while not await _is_ready(ring):
                    await asyncio.sleep(0.005)
            returned = round(time.monotonic() - back, 2)
            outcome.slowest_return_seconds = max(outcome.slowest_return_seconds, returned)
            outcome.restarts = number
            tell(f"{number} restarts, {history.acknowledged} acknowledged, {history.unknown} unknown")
        await _until_acknowledged(history, operations)
        for task in living:
            task.cancel()
    return outcome


async def _until_acknowledged(history: History, operations: int) -> None:
    while history.acknowledged < operations:
        await asyncio.sleep(0.005)


async def _is_ready(ring: KeyRing) -> bool:
    try:
        await ring.store.check()
    except StoreUnavailableError:
        return False
    return True


async def _live(history: History, rings: list[KeyRing], number: int) -> None:
    ring, other = rings[number % REPLICAS], rings[(number + 1) % REPLICAS]
    while True:
        try:
            await _live_once(history, ring, other, Person(f"user{number}"))
        except StoreUnavailableError:
            history.unknown += 1
            await asyncio.sleep(0.005)


async def _live_once(history: History, ring: KeyRing, other: KeyRing, person: Person) -> None:
    asked = await ring.manager.create_unclaimed_key(person, name="x", requested=RequestedGrant())
    history.created.add(asked.key_id)
    history.acknowledged += 1
    _, key = await ring.manager.claim_key(person, key_id=asked.key_id, claimed_from=None)
    plaintext = key.reveal()
    history.handed_over[plaintext] = asked.key_id
    history.acknowledged += 1
    await _use(history, other, plaintext)
    if len(history.handed_over) % ONE_STAYS_OF == 0:
        return
    history.perhaps_revoked.add(asked.key_id)
    await ring.manager.revoke_key(person, key_id=asked.key_id, reason=None)
    history.revoked.add(asked.key_id)
    history.acknowledged += 1
    await _use(history, other, plaintext)


async def _use(history: History, ring: KeyRing, plaintext: str) -> None:
    try:
        await ring.verifier.verify(plaintext)
        accepted = True
    except InvalidApiKeyError:
        accepted = False
    history.acknowledged += 1
    history.note_use(plaintext, accepted=accepted)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.restarts", description=__doc__)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--operations", type=int, default=200_000, help="How many are acknowledged at the least.")
    parser.add_argument("--out", type=Path, help="A file for the verdict, and beside it the history of a bad run.")
    asked = parser.parse_args()
    with a_postgres_server() as server:
        outcome = await run(server, server.url(), operations=asked.operations, restarts=asked.restarts)
        verdict = await judge(PostgresUrl(server.url()), outcome.history)
    about = {"restarts": outcome.restarts, "slowest_return_seconds": outcome.slowest_return_seconds}
    give(about | asdict(verdict), asked.out)
    if verdict.wrong and asked.out is not None:
        outcome.history.keep(asked.out.with_suffix(".history.json"))
    return int(bool(verdict.wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
