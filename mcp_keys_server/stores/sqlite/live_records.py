"""The records of secrets in an SQLite file, read on the event loop's own thread."""

import asyncio
import sqlite3
from typing import Final

from mcp_keys_server.core.records import SecretRecord
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sqlite.opened_file import OpenedFile
from mcp_keys_server.stores.sqlite.statements import DATA_VERSION, READ_SECRET

MOST_REMEMBERED: Final = 10_000


class LiveRecords:
    """A look-up takes a few microseconds, less than handing it to another thread and back, and in WAL mode a reader
    never waits for a writer.

    The caller names the trouble, because a context manager here would take a tenth of the time of a look-up.
    """

    def __init__(self, connection: sqlite3.Connection, file: OpenedFile) -> None:
        """The connection is for nothing else: one that writes does not hear of its own commits."""
        self._connection = connection
        self._file = file
        self._version: object = None
        self._remembered: dict[str, SecretRecord] = {}
        """As they are in this version of the data, or in a later one."""
        self._looked_in_this_turn = False

    def read(self, prefix: str) -> SecretRecord | None:
        """As it is now."""
        self._file.check()
        return self._read(prefix)

    def read_in_turn(self, prefix: str) -> SecretRecord | None:
        """As it was at some moment of this turn of the event loop, or is now.

        That is enough for whoever came over a socket of the server here: asyncio reads it in one turn, and uvicorn
        starts the task for a request in the next one or later. So what the sender knew to be committed was committed
        before this turn's look at the file. Amid the work for a request, a look takes ten times as long as when it is
        repeated.
        """
        if not self._looked_in_this_turn:
            self._look()
        record = self._remembered.get(prefix)
        if record is None:
            record = self._read(prefix)
            if record is not None:
                self._remembered[prefix] = record
        return record

    def _look(self) -> None:
        """Forget what others have changed meanwhile, and look again in the next turn."""
        self._file.check()
        # Another after each commit of another connection, in any process (sqlite.org/pragma.html#pragma_data_version).
        ((version,),) = self._connection.execute(DATA_VERSION).fetchall()
        if version != self._version or len(self._remembered) > MOST_REMEMBERED:
            self._remembered.clear()
            self._version = version
        self._looked_in_this_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._looked_in_this_turn = False

    def _read(self, prefix: str) -> SecretRecord | None:
        # All rows at once: a half-read cursor would hold the database's snapshot.
        found = self._connection.execute(READ_SECRET, (prefix,)).fetchall()
        return rows.secret_record(found[0]) if found else None
