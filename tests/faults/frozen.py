"""PostgreSQL stopped in the midst of everything, with all its processes and connections, for longer than anybody waits
for it, and let go on.

``python -m tests.faults.frozen --faults 50 --operations 20000 --out FILE`` does it for long; the tests do it once.
Meanwhile nobody is let in, nobody is told that a good key is bad, and what is open ends.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from mcp_keys_server import KeyRing
from tests.faults import load
from tests.faults.callers import calling, until_ended
from tests.faults.long_form import asked_for, tell
from tests.faults.outages import History, judge, kept_if_it_fails, replicas
from tests.postgres_server import PostgresServer, a_postgres_server

OPEN_OF_EACH = 5
REFUSED_EACH_TIME = 8


async def run(server: PostgresServer, *, operations: int, freezes: int) -> History:
    history = History()
    with kept_if_it_fails(history):
        async with (
            replicas(server.url()) as rings,
            load.living(history, rings),
            calling(history, rings) as callers,
        ):

            async def freeze(_: Sequence[KeyRing]) -> float:
                async with callers.open_responses(OPEN_OF_EACH) as responses:
                    with server.frozen():
                        callers.go_away()
                        gone = time.monotonic()
                        await until_ended(responses)
                        history.slowest_end = max(history.slowest_end, time.monotonic() - gone)
                        await callers.until_refused(REFUSED_EACH_TIME)
                        callers.come_back()
                return time.monotonic()

            await load.repeat(history, rings, freeze, operations=operations, faults=freezes)
    return history


async def _main() -> int:
    asked = asked_for("tests.faults.frozen", __doc__, faults=50, operations=20_000)
    with a_postgres_server() as server:
        history = await run(server, operations=asked.operations, freezes=asked.faults)
        return tell(await judge(server.url(), history), history, asked.out)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
