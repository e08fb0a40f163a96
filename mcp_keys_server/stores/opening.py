"""A database opened, whichever it is."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from mcp_keys_server.core.checksum_secret_store import ChecksumSecretStore
from mcp_keys_server.core.counters import Counters, CounterStore
from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.key_store import ChangeWatcher, KeyStore
from mcp_keys_server.core.sessions import SessionStore
from mcp_keys_server.core.tool_pins import ToolPins
from mcp_keys_server.stores.postgres.url import PostgresUrl, is_url
from mcp_keys_server.stores.redis_url import RedisUrl
from mcp_keys_server.stores.sql.checksum_secrets import SqlChecksumSecrets
from mcp_keys_server.stores.sql.sessions import SqlSessions
from mcp_keys_server.stores.sql.tool_pins import SqlToolPins
from mcp_keys_server.stores.sqlite.connections import open_connections
from mcp_keys_server.stores.sqlite.counters import SqliteCounters
from mcp_keys_server.stores.sqlite.store import SqliteStore

Database: TypeAlias = str | PathLike[str] | PostgresUrl
"""The path of an SQLite file, or the URL of a PostgreSQL database."""
DEFAULT_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class OpenedDatabase:
    store: KeyStore
    sessions: SessionStore
    counters: CounterStore
    tool_pins: ToolPins
    checksum_secrets: ChecksumSecretStore
    path: Path | None
    """Of the SQLite file; None: it is on a server."""
    watch_changes: Callable[[ChangeWatcher], None]
    """Names whoever is told of them."""


@asynccontextmanager
async def open_database(
    database: Database, *, create: bool = True, connections: int = DEFAULT_CONNECTIONS
) -> AsyncIterator[OpenedDatabase]:
    """
    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
        InvalidFieldError: It is a URL, and of none that there can be.
    """
    if isinstance(database, str) and is_url(database):
        database = PostgresUrl(database)
    if not isinstance(database, PostgresUrl):
        path = Path(database)
        async with open_connections(path, create=create) as file:
            yield OpenedDatabase(
                SqliteStore(file),
                SqlSessions(file),
                SqliteCounters(file),
                SqlToolPins(file),
                SqlChecksumSecrets(file, file.checksum_secrets),
                path,
                file.writes.watch,
            )
        return
    with driver_explained():
        from mcp_keys_server.stores.postgres.connections import open_postgres  # noqa: PLC0415
        from mcp_keys_server.stores.postgres.counters import PostgresCounters  # noqa: PLC0415
        from mcp_keys_server.stores.postgres.store import PostgresStore  # noqa: PLC0415
    async with open_postgres(database, create=create, most=connections) as server:
        yield OpenedDatabase(
            PostgresStore(server),
            SqlSessions(server),
            PostgresCounters(server),
            SqlToolPins(server),
            SqlChecksumSecrets(server, server.checksum_secrets),
            None,
            server.writes.watch,
        )


@contextmanager
def driver_explained() -> Iterator[None]:
    """Import within it what needs the driver of PostgreSQL, which is there only where it was asked for."""
    try:
        yield
    except ImportError:
        raise UnusableDatabaseError(
            f"PostgreSQL needs one more package; run: {sys.executable} -m pip install 'mcp-keys-server[postgres]'"
        ) from None


@asynccontextmanager
async def open_counters(url: RedisUrl | None, otherwise: Counters) -> AsyncIterator[Counters]:
    """Those in the server with this URL, which fall back on the other ones; without a URL, these.

    Raises:
        UnusableDatabaseError: The driver is missing.
    """
    if url is None:
        yield otherwise
        return
    try:
        from mcp_keys_server.stores.redis_counters import open_redis  # noqa: PLC0415
    except ImportError:
        raise UnusableDatabaseError(
            f"rate_limit_storage needs one more package; run: {sys.executable} -m pip install 'mcp-keys-server[redis]'"
        ) from None
    async with open_redis(url, otherwise) as counters:
        yield counters
