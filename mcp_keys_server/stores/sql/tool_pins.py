"""What upstreams' tools looked like when they were first seen, in the same database."""

from collections.abc import Mapping
from datetime import datetime

from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.database import SqlDatabase, Transaction


class SqlToolPins:
    """Digests by alias and tool."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def pinned(self, alias: str) -> Mapping[str, str]:
        return dict(await self._database.read(rows.tool_and_digest, sql.PINNED_TOOLS, alias))

    async def pin(self, alias: str, digests: Mapping[str, str], at: datetime) -> None:
        async def work(transaction: Transaction) -> None:
            # In one order, so that two processes that pin the same tools never wait for each other.
            for tool, digest in sorted(digests.items()):
                await transaction.fetch(sql.PIN_TOOL, alias, tool, digest, at)

        await self._database.write(work)

    async def forget(self, alias: str) -> int:
        async def work(transaction: Transaction) -> int:
            return len(await transaction.fetch(sql.FORGET_TOOLS, alias))

        return await self._database.write(work)
