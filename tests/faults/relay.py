"""Between a process and its PostgreSQL: keeps back what the server tells those who listen, or all that comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

NOTIFICATION = b"A"
"""The type of such a message of the server's, of which each is a letter, a length and a rest (protocol 3.0)."""


class Relay:
    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._port = 0
        self._connections = 0
        self._silent_up_to = 0
        self.is_deaf = False
        self.kept_back = 0
        """Notifications."""

    @property
    def url(self) -> str:
        """Through it, and without TLS, which would keep it from seeing what a message is."""
        user, at, _ = self._parts.netloc.rpartition("@")
        query = "&".join(filter(None, [self._parts.query, "sslmode=disable"]))
        return urlunsplit(self._parts._replace(netloc=f"{user}{at}127.0.0.1:{self._port}", query=query))

    def silence(self) -> None:
        """From now on nothing comes through the connections there are, and neither end is told."""
        self._silent_up_to = self._connections

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        assert self._parts.hostname
        server_reader, server_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port or 5432)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._to_server(number, reader, server_writer))
                group.create_task(self._to_client(number, server_reader, writer))
        finally:
            for each in (writer, server_writer):
                each.close()

    async def _to_server(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                if number > self._silent_up_to:
                    writer.write(part)
        writer.close()

    async def _to_client(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                kind, length = await reader.readexactly(1), await reader.readexactly(4)
                rest = await reader.readexactly(int.from_bytes(length) - 4)
                if kind == NOTIFICATION and self.is_deaf:
                    self.kept_back += 1
                elif number > self._silent_up_to:
                    writer.write(kind + length + rest)
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        server = await asyncio.start_server(self.connect, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
