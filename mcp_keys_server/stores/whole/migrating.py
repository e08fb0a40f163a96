"""The schema brought up to date, by whoever may; and what the role that serves needs of it, and no more."""

from functools import partial
from pathlib import Path

import anyio.to_thread

from mcp_keys_server.core.errors import NoDatabaseError, UnusableDatabaseError
from mcp_keys_server.stores.opening import driver_explained
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.whole.moving import Place, schema_version


async def migrate_database(place: Place, *, create: bool, grant_to: str | None) -> tuple[int, int]:
    """Bring the tables to the present schema, and let this role of PostgreSQL serve with them.

    Returns:
        The schema before, 0 when there was none, and after.

    Raises:
        UnusableDatabaseError: It cannot be done; the message says what to do.
    """
    if isinstance(place, Path) and grant_to is not None:
        raise UnusableDatabaseError("SQLite has no roles: who may use the file is said by its owner and its mode")
    before = await _before(place, create=create)
    if isinstance(place, Path):
        await anyio.to_thread.run_sync(partial(sqlite_file.prepare, place, create=create))
    else:
        with driver_explained():
            from mcp_keys_server.stores.postgres.migrating import migrate  # noqa: PLC0415
        await migrate(place, create=create, grant_to=grant_to)
    return before, await schema_version(place)


async def _before(place: Place, *, create: bool) -> int:
    try:
        return await schema_version(place)
    except NoDatabaseError:
        if not create:
            raise
        return 0
