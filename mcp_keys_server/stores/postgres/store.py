"""The store on PostgreSQL, for any number of processes on any number of machines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from mcp_keys_server.core.ledger import Entry
from mcp_keys_server.core.records import ProvenHash, SecretRecord, Use
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connecting import trouble_named
from mcp_keys_server.stores.postgres.connections import PostgresConnections
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql.database import Transaction
from mcp_keys_server.stores.sql.store import SqlStore


class PostgresStore(SqlStore):
    """The records of secrets are read together, of all requests that wait at a moment."""

    def __init__(self, connections: PostgresConnections) -> None:
        super().__init__(connections)
        self._connections = connections

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        found = await self._connections.lookups.look_up(prefix)
        if found is None:
            return None
        with trouble_named():
            at, *row = found
            record = rows.secret_record(tuple(row))
            behind = at - self._connections.clock()
            return replace(record, clock_behind=behind) if behind > timedelta() else record

    async def read_secret_in_turn(self, prefix: str) -> SecretRecord | None:
        return await self.read_secret(prefix)

    async def follow_events(self, first: int, *, limit: int) -> Sequence[Entry]:
        return await self._connections.read(rows.entry, sql.FOLLOW_EVENTS, first, limit)

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        prefixes = list(uses)
        counts = [use.count for use in uses.values()]
        times = [use.last_used_at for use in uses.values()]
        addresses = [use.last_used_from for use in uses.values()]

        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.HOLD_KEYS_OF_SECRETS, prefixes)
            await transaction.fetch(sql.RECORD_USE, prefixes, counts, times, addresses)
            await transaction.fetch(sql.RECORD_USE_OF_SECRETS, prefixes, times)

        await self._connections.write(work)

    async def record_proofs(self, proven: Mapping[str, ProvenHash]) -> None:
        prefixes = list(proven)
        key_hashes = [it.key_hash for it in proven.values()]
        proofs = [it.proof for it in proven.values()]

        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.HOLD_KEYS_OF_SECRETS, prefixes)
            await transaction.fetch(sql.RECORD_PROOFS, prefixes, key_hashes, proofs)

        await self._connections.write(work)

    async def check(self) -> None:
        await self._connections.check()
