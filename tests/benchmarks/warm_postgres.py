"""Warm verification with its live record in PostgreSQL."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import asyncpg

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.postgres.statements import READ_SECRETS
from mcp_keys_server.stores.postgres.url import PostgresUrl
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.keys_at_hand import opened_ring
from tests.benchmarks.rounds import run_rounds
from tests.benchmarks.stopwatch import timed
from tests.databases import a_database, has_postgres

_KEYS: Final = 100
_READ_ONE: Final = READ_SECRETS.replace("= ANY($1::text[])", "= $1")


def warm_postgres(bench: Bench) -> Sequence[Row]:
    """One caller after the other: the worst case, because there is nobody to share a statement with."""
    if not has_postgres():
        return []
    # A round trip to a server takes as long as some tens of reads of a file.
    calls = bench.effort.calls // 20
    with (
        a_database("postgres", bench.folder) as database,
        opened_ring(str(database), bcrypt_cost=CHEAPEST_COST) as opened,
    ):
        verifier = opened.ring.verifier
        keys = list(islice(cycle((key.reveal(), key.prefix) for key in opened.add_keys(_KEYS)), calls))
        url = PostgresUrl(str(database))

        async def verify() -> None:
            for presented, _ in keys:
                await verifier.verify(presented)

        connection = opened.runner.run(connected(url))
        try:
            statement = opened.runner.run(connection.prepare(_READ_ONE))

            async def read() -> None:
                for _, prefix in keys:
                    await statement.fetch(prefix)

            contestants = {
                # Both wait for the server most of the time.
                "ours": timed(lambda: opened.runner.run(verify()), calls=calls, waits=True),
                "bare": timed(lambda: opened.runner.run(read()), calls=calls, waits=True),
            }
            rounds = run_rounds("warm verification (PostgreSQL)", bench, contestants)
        finally:
            opened.runner.run(connection.close())
    what = "warm verification, its live record read (PostgreSQL)"
    bare = "one prepared read of the same row by asyncpg"
    return [rounds.compare(what, Quantity.CALL, "ours", "bare", compared_with=bare, goal=goals.WARM_POSTGRES)]


async def connected(url: PostgresUrl) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(url.reveal(), server_settings={"search_path": url.schema, "jit": "off"})
