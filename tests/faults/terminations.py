"""Connections ended by PostgreSQL at random, in the midst of whatever they are doing, as by an administrator.

``python -m tests.faults.terminations --faults 2000 --operations 50000 --out FILE`` does it for long; the tests do it
briefly. Nothing else is broken, so nobody is ever told that a good key is bad, and everything goes on.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import asyncpg

from mcp_keys_server import KeyRing
from tests.faults import load
from tests.faults.callers import calling
from tests.faults.long_form import asked_for, tell
from tests.faults.outages import History, judge, kept_if_it_fails, replicas
from tests.postgres_server import PostgresServer, a_postgres_server

END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'mcp-keys-server' AND state <> 'idle' ORDER BY random() LIMIT 1
"""


async def run(server: PostgresServer, *, operations: int, terminations: int) -> History:
    """So many connections that were at work, of which most were in the midst of a transaction."""
    history = History()
    other = await asyncpg.connect(server.url())
    with kept_if_it_fails(history):
        async with (
            replicas(server.url()) as rings,
            load.living(history, rings),
            calling(history, rings),
        ):

            async def end_one(_: Sequence[KeyRing]) -> float:
                async with asyncio.timeout(load.SECONDS_TO_GO_ON):
                    while not await other.fetch(END_ONE):
                        await asyncio.sleep(0)
                return time.monotonic()

            await load.repeat(history, rings, end_one, operations=operations, faults=terminations)
    await other.close()
    return history


async def _main() -> int:
    asked = asked_for("tests.faults.terminations", __doc__, faults=2_000, operations=50_000)
    with a_postgres_server() as server:
        history = await run(server, operations=asked.operations, terminations=asked.faults)
        return tell(await judge(server.url(), history), history, asked.out)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
