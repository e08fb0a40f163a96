"""People who make, claim, use and revoke keys through several replicas while something is broken, again and again."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from mcp_keys_server import InvalidApiKeyError, KeyRing, RequestedGrant, StoreUnavailableError
from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.core.records import Person
from tests.faults.outages import History, kept_if_it_fails, replicas

USERS: Final = 24
"""Each does one thing after the other, through one of the replicas."""
ONE_STAYS_OF: Final = 20
"""Of so many keys one is not revoked."""
SECONDS_TO_GO_ON: Final = 120
"""On a machine that is busy with other things; else it hangs."""
Break = Callable[[Sequence[KeyRing]], Awaitable[float]]
"""Breaks something and mends it again; gives the moment from which on the database was there again."""


async def run(database: str, break_it: Break, *, operations: int, faults: int) -> History:
    """Beside the people, nobody calls."""
    history = History()
    with kept_if_it_fails(history):
        async with replicas(database) as rings, living(history, rings):
            await repeat(history, rings, break_it, operations=operations, faults=faults)
    return history


async def repeat(history: History, rings: Sequence[KeyRing], break_it: Break, *, operations: int, faults: int) -> None:
    """So many faults, evenly among at least so many acknowledged operations."""
    for number in range(1, faults + 1):
        await until_acknowledged(history, operations * number // (faults + 1))
        history.note("breaking")
        back = await break_it(rings)
        history.note("mended")
        await until_ready(rings)
        history.slowest_return = max(history.slowest_return, time.monotonic() - back)
        history.faults = number
        _tell(f"\r{number} faults, {history.acknowledged} acknowledged, {history.unknown} unknown ")
    await until_acknowledged(history, operations)


@asynccontextmanager
async def living(history: History, rings: Sequence[KeyRing]) -> AsyncIterator[None]:
    for number in range(USERS):
        await rings[0].administration.add_user(f"user{number}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_live(history, rings, number)) for number in range(USERS)]
        yield
        for task in tasks:
            task.cancel()


async def until_acknowledged(history: History, operations: int) -> None:
    """Forward it goes, however slowly."""
    while history.acknowledged < operations:
        before = history.acknowledged
        async with asyncio.timeout(SECONDS_TO_GO_ON):
            while history.acknowledged == before:
                await asyncio.sleep(0.005)


async def until_ready(rings: Sequence[KeyRing]) -> None:
    async with asyncio.timeout(SECONDS_TO_GO_ON):
        for ring in rings:
            while not await _is_ready(ring):
                await asyncio.sleep(0.005)


async def _is_ready(ring: KeyRing) -> bool:
    try:
        await ring.store.check()
    except StoreUnavailableError:
        return False
    return True


async def _live(history: History, rings: Sequence[KeyRing], number: int) -> None:
    ring, other = rings[number % len(rings)], rings[(number + 1) % len(rings)]
    while True:
        try:
            await _live_once(history, ring, other, Person(f"user{number}"))
        except StoreUnavailableError:
            history.unknown += 1
            history.note("unknown", f"user{number}")
            await asyncio.sleep(0.005)


async def _live_once(history: History, ring: KeyRing, other: KeyRing, person: Person) -> None:
    about = person.user_id
    try:
        asked = await ring.manager.create_unclaimed_key(person, name="x", requested=RequestedGrant())
        about = asked.key_id
        history.created.add(asked.key_id)
        history.acknowledge("created", about)
        _, key = await ring.manager.claim_key(person, key_id=asked.key_id, claimed_from=None)
        history.claimed[asked.key_id] = key.reveal()
        history.acknowledge("claimed", about)
        await other.verifier.verify(key.reveal())
        history.acknowledge("verified", about)
        if len(history.claimed) % ONE_STAYS_OF == 0:
            return
        history.perhaps_revoked.add(asked.key_id)
        await ring.manager.revoke_key(person, key_id=asked.key_id, reason=None)
        history.revoked.add(asked.key_id)
        history.acknowledge("revoked", about)
    except StoreUnavailableError:
        raise
    except McpKeysError as error:  # though everything that it needs was acknowledged
        history.denied.add(about)
        history.note(f"denied: {error}", about)
        return
    try:
        await other.verifier.verify(key.reveal())
    except InvalidApiKeyError:
        history.acknowledge("refused", about)
    else:
        history.accepted_after_revocation.add(asked.key_id)
        history.note("accepted", about)


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(progress)
        sys.stderr.flush()
