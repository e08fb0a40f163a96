"""Counters of all processes that have one SQLite file open."""

import json
from collections.abc import Mapping

from mcp_keys_server.core.counters import Count
from mcp_keys_server.stores.sql.counters import sums_of_present_windows
from mcp_keys_server.stores.sqlite import statements as sql
from mcp_keys_server.stores.sqlite.connections import SqliteConnections
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction


class SqliteCounters:
    """A row for each name and process."""

    def __init__(self, connections: SqliteConnections) -> None:
        self._connections = connections

    async def share_counts(self, process: str, counts: Mapping[str, Count], *, now: int) -> Mapping[str, int]:
        put = [(name, process, counted.ends_at, counted.count) for name, counted in counts.items()]

        async def work(transaction: SqliteTransaction) -> Mapping[str, int]:
            await transaction.fetch(sql.FORGET_COUNTS, now)
            await transaction.do_for_each(sql.PUT_COUNT, put)
            return sums_of_present_windows(await transaction.fetch(sql.SUM_COUNTS, json.dumps(list(counts))), counts)

        return await self._connections.write(work)
