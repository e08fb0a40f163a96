"""Counters of all processes that use one PostgreSQL database."""

from collections.abc import Mapping

from mcp_keys_server.core.counters import Count
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connections import PostgresConnections
from mcp_keys_server.stores.sql.counters import sums_of_present_windows
from mcp_keys_server.stores.sql.database import Transaction


class PostgresCounters:
    """A row for each name and process, so that no two of these ever wait for each other's."""

    def __init__(self, connections: PostgresConnections) -> None:
        self._connections = connections

    async def share_counts(self, process: str, counts: Mapping[str, Count], *, now: int) -> Mapping[str, int]:
        names = list(counts)
        ends = [counted.ends_at for counted in counts.values()]
        numbers = [counted.count for counted in counts.values()]

        async def work(transaction: Transaction) -> Mapping[str, int]:
            await transaction.fetch(sql.FORGET_COUNTS, now)
            await transaction.fetch(sql.PUT_COUNTS, process, names, ends, numbers)
            return sums_of_present_windows(await transaction.fetch(sql.SUM_COUNTS, names), counts)

        return await self._connections.write(work)
