"""One database, whichever it is, opened to be read whole or to be made the copy of another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores.opening import driver_explained
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql.migration_scripts import newest_schema
from mcp_keys_server.stores.sql.tables import Snapshot, TableReader, TableWriter
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite import tables as sqlite_tables

Place: TypeAlias = Path | PostgresUrl


async def schema_version(place: Place) -> int:
    """That of a database that is there and ours, and of no newer schema. Nothing is changed.

    Raises:
        UnusableDatabaseError: It is not; the message says what to do.
    """
    if isinstance(place, Path):
        return await anyio.to_thread.run_sync(sqlite_file.schema_version, place)
    with driver_explained():
        from mcp_keys_server.stores.postgres import tables as postgres_tables  # noqa: PLC0415
    return await postgres_tables.schema_version(place)


async def require_newest_schema(place: Place) -> None:
    """
    Raises:
        UnusableDatabaseError: It is of an older schema, or cannot be used at all; the message says what to do.
    """
    version, newest = await schema_version(place), newest_schema_of(place)
    if version < newest:
        raise UnusableDatabaseError(
            f"{place} is of schema {version} and not of {newest} yet; run: mcp-keys-server database migrate --database "
            f"'{place}'"
        )


@asynccontextmanager
async def open_source(place: Place) -> AsyncIterator[TableReader]:
    """The database as it is at this moment, whatever others write to it from here on. Nothing is changed.

    Raises:
        UnusableDatabaseError: It cannot be read as it is; the message says what to do.
    """
    await require_newest_schema(place)
    async with open_snapshot(place) as source:
        yield source


@asynccontextmanager
async def open_snapshot(place: Place) -> AsyncIterator[Snapshot]:
    """The database as it is at this moment, to be read."""
    if isinstance(place, Path):
        async with sqlite_tables.open_snapshot(place) as file:
            yield file
        return
    from mcp_keys_server.stores.postgres import tables as postgres_tables  # noqa: PLC0415 - the driver may not be there

    async with postgres_tables.open_snapshot(place) as server:
        yield server


@asynccontextmanager
async def open_target(place: Place) -> AsyncIterator[TableWriter]:
    """The database, which is made if there is none, to be written.

    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
    """
    if isinstance(place, Path):
        async with sqlite_tables.open_target(place) as file:
            yield file
        return
    with driver_explained():
        from mcp_keys_server.stores.postgres import tables as postgres_tables  # noqa: PLC0415
    async with postgres_tables.open_target(place) as server:
        yield server


def newest_schema_of(place: Place) -> int:
    return newest_schema("sqlite" if isinstance(place, Path) else "postgres")
