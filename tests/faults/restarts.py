"""PostgreSQL stopped at once and started again, over and over, while keys are made, claimed, used and revoked.

``python -m tests.faults.restarts --faults 100 --operations 200000 --out FILE`` does it for long; the tests do it
briefly. What was acknowledged must hold afterwards, and what was not must open nothing.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import anyio.to_thread

from mcp_keys_server import KeyRing
from tests.faults import load
from tests.faults.long_form import asked_for, tell
from tests.faults.outages import History, judge
from tests.postgres_server import PostgresServer, a_postgres_server


async def run(server: PostgresServer, *, operations: int, restarts: int) -> History:
    """So many restarts, evenly among at least so many acknowledged operations."""

    async def restart(_: Sequence[KeyRing]) -> float:
        await anyio.to_thread.run_sync(server.restart)
        return time.monotonic()

    return await load.run(server.url(), restart, operations=operations, faults=restarts)


async def _main() -> int:
    asked = asked_for("tests.faults.restarts", __doc__, faults=100, operations=200_000)
    with a_postgres_server() as server:
        history = await run(server, operations=asked.operations, restarts=asked.faults)
        return tell(await judge(server.url(), history), history, asked.out)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
