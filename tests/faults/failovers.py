"""The primary of two PostgreSQL servers lost, again and again, and its standby promoted in its place.

``python -m tests.faults.failovers --faults 50 --operations 20000 --out FILE`` does it for long; the tests do it once
in each way. With synchronous replication, what was acknowledged is on the standby. Until it is promoted it is asked
nothing.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from enum import Enum
from itertools import cycle
from typing import Final

import anyio.to_thread
import asyncpg

from mcp_keys_server import KeyRing
from tests.faults import load
from tests.faults.callers import Callers, calling
from tests.faults.long_form import asked_for, tell
from tests.faults.outages import History, judge, kept_if_it_fails, replicas
from tests.postgres_server import PostgresServer, a_postgres_server, a_standby

REFUSED_EACH_TIME: Final = 8
BESIDE_THE_STANDBY: Final = 30
"""So many operations are told of with it, and as many after it was lost."""


class Loss(Enum):
    """How the primary is lost."""

    KILLED = "its machine is off, and says so"
    HUNG = "it takes connections, and never answers"
    ALONE = "it is killed, and the standby was lost before"


class Pair:
    def __init__(self, primary: PostgresServer, standby: PostgresServer, *, synchronous: bool = True) -> None:
        both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        self.url: Final = primary.url().replace(f"127.0.0.1:{primary.port}", both)
        self.primary, self.standby = primary, standby
        self._synchronous = synchronous
        self._stands_by = True
        self._hung = ExitStack()

    async def replicate(self) -> None:
        """What was lost follows what took its place, and from now on nothing is acknowledged that it does not have."""
        if not self._stands_by:
            if self.standby.is_running():  # it hangs, and must not go on: it would be a second primary
                await anyio.to_thread.run_sync(self.standby.kill)
            self._hung.close()
            await anyio.to_thread.run_sync(self.standby.follow, self.primary)
            self._stands_by = True
        if self._synchronous:
            self.primary.configure(synchronous_standby_names="*")
            await self._until_synchronous()

    async def lose(self, loss: Loss) -> None:
        if loss is Loss.HUNG:
            self._hung.enter_context(self.primary.frozen())
            return
        await anyio.to_thread.run_sync(self.primary.kill)
        if not self.standby.is_running():
            await anyio.to_thread.run_sync(self.standby.start)

    async def promote(self) -> None:
        self.standby.configure(synchronous_standby_names="")  # or else it waits for one of its own
        await anyio.to_thread.run_sync(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary
        self._stands_by = False

    def close(self) -> None:
        self._hung.close()

    async def _until_synchronous(self) -> None:
        connection = await asyncpg.connect(self.primary.url())
        try:
            async with asyncio.timeout(load.SECONDS_TO_GO_ON):
                while not await connection.fetchval("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()


@asynccontextmanager
async def a_pair(*, synchronous: bool = True) -> AsyncIterator[Pair]:
    with a_postgres_server() as one, a_standby(one) as other:
        pair = Pair(one, other, synchronous=synchronous)
        try:
            yield pair
        finally:
            pair.close()


async def run(pair: Pair, *losses: Loss, operations: int) -> History:
    """So many fail-overs, evenly among at least so many acknowledged operations."""
    history = History()
    coming = iter(losses)
    await pair.replicate()
    with kept_if_it_fails(history):
        async with replicas(pair.url) as rings, load.living(history, rings), calling(history, rings) as callers:

            async def fail_over(_: Sequence[KeyRing]) -> float:
                await _fail_over(history, pair, callers, next(coming))
                return time.monotonic()

            await load.repeat(history, rings, fail_over, operations=operations, faults=len(losses))
    return history


async def _fail_over(history: History, pair: Pair, callers: Callers, loss: Loss) -> None:
    await pair.replicate()
    await load.until_acknowledged(history, history.acknowledged + BESIDE_THE_STANDBY)
    if loss is Loss.ALONE:
        await anyio.to_thread.run_sync(pair.standby.stop)
        told = history.acknowledged + history.unknown + BESIDE_THE_STANDBY
        async with asyncio.timeout(load.SECONDS_TO_GO_ON):
            while history.acknowledged + history.unknown < told:
                await asyncio.sleep(0.005)
    await pair.lose(loss)
    callers.go_away()
    await callers.until_refused(REFUSED_EACH_TIME)
    callers.come_back()
    await pair.promote()


async def _main() -> int:
    asked = asked_for("tests.faults.failovers", __doc__, faults=50, operations=20_000)
    losses = [loss for loss, _ in zip(cycle(Loss), range(asked.faults), strict=False)]
    async with a_pair() as pair:
        history = await run(pair, *losses, operations=asked.operations)
        return tell(await judge(pair.url, history), history, asked.out)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
