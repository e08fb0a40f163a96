"""The embedded store: one SQLite file, shared by any number of processes of one machine."""

from collections.abc import Mapping, Sequence

from mcp_keys_server.core.ledger import BrokenLedgerError, Entry
from mcp_keys_server.core.records import ProvenHash, SecretRecord, Use
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql.checksum_secrets import CHECKSUM_SECRET
from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.stores.sql.store import SqlStore
from mcp_keys_server.stores.sqlite import statements as sql
from mcp_keys_server.stores.sqlite.connections import TROUBLE, SqliteConnections, trouble
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction


class SqliteStore(SqlStore):
    """The record of a secret is read on the event loop's own thread, without a wait."""

    def __init__(self, connections: SqliteConnections) -> None:
        super().__init__(connections)
        self._connections = connections

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        try:
            return self._connections.live.read(prefix)
        except TROUBLE as error:
            raise trouble(error) from error

    async def read_secret_in_turn(self, prefix: str) -> SecretRecord | None:
        try:
            return self._connections.live.read_in_turn(prefix)
        except TROUBLE as error:
            raise trouble(error) from error

    async def follow_events(self, first: int, *, limit: int) -> Sequence[Entry]:
        return await self._connections.read(followed_entry, sql.FOLLOW_EVENTS, first, limit)

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        of_keys = [(use.count, use.last_used_at, use.last_used_from, prefix) for prefix, use in uses.items()]
        of_secrets = [(use.last_used_at, prefix) for prefix, use in uses.items()]

        async def work(transaction: SqliteTransaction) -> None:
            await transaction.do_for_each(sql.RECORD_USE, of_keys)
            await transaction.do_for_each(sql.RECORD_USE_OF_SECRET, of_secrets)

        await self._connections.write(work)

    async def record_proofs(self, proven: Mapping[str, ProvenHash]) -> None:
        rows = [(it.proof, prefix, it.key_hash) for prefix, it in proven.items()]

        async def work(transaction: SqliteTransaction) -> None:
            await transaction.do_for_each(sql.RECORD_PROOF, rows)

        await self._connections.write(work)

    async def check(self) -> None:
        await self._connections.read(tuple, sql.READ_META, CHECKSUM_SECRET)


def followed_entry(row: Row) -> Entry:
    """An entry of texts that come as they are in the file, of which somebody may have made what is none.

    Raises:
        BrokenLedgerError: No event is written like this.
    """
    number, *texts, digest = row
    try:
        found = rows.entry((number, *(None if text is None else text.decode() for text in texts), digest))
        written = rows.to_text(found.event.at)
    except (ValueError, OverflowError) as error:  # of a time that is beyond the calendar in UTC
        raise BrokenLedgerError(f"entry {number} was changed: {error}") from error
    if texts[1].decode() != written:  # other spellings of the same moment have the same digest
        raise BrokenLedgerError(f"entry {number} was changed: its time is written in another way")
    return found
