"""PostgreSQL stopped at once and started again, over and over, while keys are made, claimed, used and revoked.

``python -m tests.faults.restarts --restarts 100 --operations 200000 --out FILE`` does it for long; the tests do it
briefly. What was acknowledged must hold afterwards, and what was not must open nothing.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread

from mcp_keys_server import (
    InvalidApiKeyError,
    KeyRing,
    KeyStatus,
    RequestedGrant,
    StoreUnavailableError,
    open_key_ring,
)
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_manager import CLAIM_LIFE
from mcp_keys_server.core.ledger import BrokenLedgerError
from mcp_keys_server.core.records import Person
from tests.postgres_server import PostgresServer, a_postgres_server

REPLICAS: Final = 2
USERS: Final = 24
"""Each does one thing after the other, through one of the replicas."""
ONE_STAYS_OF: Final = 20
"""Of so many keys one is not revoked."""


@dataclass
class History:
    """What was acknowledged, and what may have been done all the same."""

    created: set[str] = field(default_factory=set)
    claimed: dict[str, str] = field(default_factory=dict)
    """The plaintexts, by key id."""
    revoked: set[str] = field(default_factory=set)
    perhaps_revoked: set[str] = field(default_factory=set)
    accepted_after_revocation: set[str] = field(default_factory=set)
    acknowledged: int = 0
    unknown: int = 0
    restarts: int = 0
    slowest_return: float = 0.0
    """Seconds from when PostgreSQL was back until every replica was ready."""


@dataclass(frozen=True)
class Verdict:
    acknowledged: int
    unknown: int
    restarts: int
    slowest_return_seconds: float
    lost_creates: int
    lost_claims: int
    undone_revocations: int
    accepted_after_revocation: int
    ghosts: int
    """Keys that nobody was told of, because the connection was lost after they were made."""
    ghosts_that_open_or_stay: int
    ledger_is_whole: bool

    @property
    def is_good(self) -> bool:
        bad = self.lost_creates + self.lost_claims + self.undone_revocations
        return self.ledger_is_whole and bad + self.accepted_after_revocation + self.ghosts_that_open_or_stay == 0


@asynccontextmanager
async def replicas(url: str) -> AsyncIterator[list[KeyRing]]:
    async with AsyncExitStack() as stack:
        rings = [open_key_ring(url, bcrypt_cost=CHEAPEST_COST, connections=8) for _ in range(REPLICAS)]
        yield [await stack.enter_async_context(ring) for ring in rings]


async def run(server: PostgresServer, url: str, *, operations: int, restarts: int) -> History:
    """So many restarts, evenly among at least so many acknowledged operations."""
    history = History()
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
            history.slowest_return = max(history.slowest_return, time.monotonic() - back)
            history.restarts = number
            _tell(f"\r{number} restarts, {history.acknowledged} acknowledged, {history.unknown} unknown ")
        await _until_acknowledged(history, operations)
        for task in living:
            task.cancel()
    return history


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
    history.claimed[asked.key_id] = key.reveal()
    history.acknowledged += 1
    await other.verifier.verify(key.reveal())
    history.acknowledged += 1
    if len(history.claimed) % ONE_STAYS_OF == 0:
        return
    history.perhaps_revoked.add(asked.key_id)
    await ring.manager.revoke_key(person, key_id=asked.key_id, reason=None)
    history.revoked.add(asked.key_id)
    history.acknowledged += 1
    try:
        await other.verifier.verify(key.reveal())
    except InvalidApiKeyError:
        history.acknowledged += 1
    else:
        history.accepted_after_revocation.add(asked.key_id)


async def judge(url: str, history: History) -> Verdict:
    """What is there in the end, against what was acknowledged."""
    async with replicas(url) as (ring, _):
        kept = {key.key_id: key for key in await ring.administration.list_keys(None, include_ended=True)}
        ghosts = [key for key_id, key in kept.items() if key_id not in history.created]
        later = utc_now() + CLAIM_LIFE
        undone = {key_id for key_id in history.revoked if key_id not in kept or kept[key_id].revoked_at is None}
        lost_claims = set()
        for key_id, plaintext in history.claimed.items():
            opens = await _opens(ring, plaintext)
            if key_id in history.revoked and opens:
                undone.add(key_id)
            if key_id not in history.perhaps_revoked and not opens:
                lost_claims.add(key_id)
        try:
            await ring.administration.verify_events()
            ledger_is_whole = True
        except BrokenLedgerError:
            ledger_is_whole = False
    return Verdict(
        acknowledged=history.acknowledged,
        unknown=history.unknown,
        restarts=history.restarts,
        slowest_return_seconds=round(history.slowest_return, 2),
        lost_creates=len(history.created - kept.keys()),
        lost_claims=len(lost_claims),
        undone_revocations=len(undone),
        accepted_after_revocation=len(history.accepted_after_revocation),
        ghosts=len(ghosts),
        ghosts_that_open_or_stay=sum(bool(key.secrets) or key.status(later) != KeyStatus.LAPSED for key in ghosts),
        ledger_is_whole=ledger_is_whole,
    )


async def _opens(ring: KeyRing, plaintext: str) -> bool:
    try:
        await ring.verifier.verify(plaintext)
    except InvalidApiKeyError:
        return False
    return True


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(progress)
        sys.stderr.flush()


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.restarts", description=__doc__)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--operations", type=int, default=200_000, help="How many are acknowledged at the least.")
    parser.add_argument("--out", type=Path, help="A file for the verdict, and beside it the history of a bad run.")
    asked = parser.parse_args()
    with a_postgres_server() as server:
        history = await run(server, server.url(), operations=asked.operations, restarts=asked.restarts)
        verdict = await judge(server.url(), history)
    text = json.dumps(asdict(verdict), indent=2)
    sys.stdout.write(f"{text}\n")
    if asked.out is not None:
        asked.out.write_text(f"{text}\n")
        if not verdict.is_good:
            asked.out.with_suffix(".history.json").write_text(json.dumps(asdict(history), default=sorted))
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
