"""The tables in PostgreSQL: ours, of a schema that this version knows, on a server that keeps what it has confirmed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import NoDatabaseError, StoreUnavailableError, UnusableDatabaseError
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connecting import Connection, PooledConnection
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql.checksum_secrets import CHECKSUM_SECRET, new_checksum_secret, whole_checksum_secrets
from mcp_keys_server.stores.sql.migration_scripts import migrations
from mcp_keys_server.stores.sql.statements import ADD_META, PUT_META, READ_META
from mcp_keys_server.stores.sql.unfinished_copy import COPYING_FROM, refuse_unfinished

OLDEST_SERVER: Final = 130_000
VERSION: Final = "schema_version"
SECONDS_TO_MIGRATE: Final = 600
"""Its own work, or that of the replica that was first."""
MOST_SKEW: Final = timedelta(seconds=30)
"""How far this machine's clock may be from the database's, in which time a key may be good too long or too short."""


async def prepare(
    connection: Connection, url: PostgresUrl, *, create: bool, unfinished: bool = False
) -> Sequence[bytes]:
    """See to it that the tables are there, ours and of the present schema; make them when they are missing and may be.
    A copy that is not finished is none of these, unless it is to be finished.

    Returns:
        The checksum secrets, of which the first makes checksums.

    Raises:
        UnusableDatabaseError: They cannot be made or used; the message says what to do.
        asyncpg.PostgresError: The same, in the server's words.
    """
    await _check_server(connection, url)
    async with connection.transaction():
        # Several replicas that start at once do this one after the other.
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await connection.execute(sql.HOLD_SCHEMA, url.schema, timeout=SECONDS_TO_MIGRATE)
        version = await _version(connection, url, create=create)
        for number, script in migrations("postgres"):
            if number > version:
                await connection.execute(script, timeout=SECONDS_TO_MIGRATE)
                await connection.execute(PUT_META, VERSION, str(number).encode())
        if version == 0:
            await connection.execute(ADD_META, CHECKSUM_SECRET, new_checksum_secret())
        checksum_secrets = whole_checksum_secrets(url, await connection.fetchval(READ_META, CHECKSUM_SECRET))
        if not unfinished:
            refuse_unfinished(url, await connection.fetchval(READ_META, COPYING_FROM))
    return checksum_secrets


async def schema_version(connection: Connection, url: PostgresUrl) -> int:
    """That of tables that are there and ours, and of no newer schema. Nothing is changed.

    Raises:
        UnusableDatabaseError: They are not; the message says what to do.
        asyncpg.PostgresError: The same, in the server's words.
    """
    await _check_server(connection, url)
    return await _version(connection, url, create=False)


async def skew(connection: "Connection | PooledConnection", clock: Clock) -> timedelta:
    """How far this machine's clock is from the database's, at least."""
    before = clock()
    theirs = await connection.fetchval(sql.CLOCK)
    assert isinstance(theirs, datetime)  # noqa: S101 - a clock tells the time
    return max(before - theirs, theirs - clock(), timedelta())


async def check_clock(connection: "Connection | PooledConnection", clock: Clock) -> None:
    """
    Raises:
        StoreUnavailableError: This machine's time is not that of the database, so ends of keys would not be kept.
    """
    apart = await skew(connection, clock)
    if apart > MOST_SKEW:
        raise StoreUnavailableError(
            f"this machine's clock is {apart.total_seconds():.0f} seconds away from that of the database, so keys "
            "would end at the wrong time; set both by NTP"
        )


async def _check_server(connection: Connection, url: PostgresUrl) -> None:
    ((version, encoding, synchronous_commit, fsync, role),) = await connection.fetch(sql.ROLE_AND_SERVER)
    if version < OLDEST_SERVER:
        raise UnusableDatabaseError(f"{url} is PostgreSQL {version // 10_000}; 13 or later is needed")
    if encoding != "UTF8":
        raise UnusableDatabaseError(
            f"{url} is encoded in {encoding}; make one with: createdb --encoding UTF8 --template template0 NAME"
        )
    if synchronous_commit == "off":
        raise UnusableDatabaseError(
            f"{url} may forget what it has confirmed, and revoked keys would come back to life; run: "
            f"ALTER ROLE {role} SET synchronous_commit = on, and leave it out of the URL"
        )
    if fsync == "off":
        raise UnusableDatabaseError(
            f"{url} may forget what it has confirmed, and revoked keys would come back to life; set fsync = on in "
            "postgresql.conf"
        )


async def _version(connection: Connection, url: PostgresUrl, *, create: bool) -> int:
    """0: there are no tables yet, and there is a schema for them now."""
    tables = {row["tablename"] for row in await connection.fetch(sql.TABLES, url.schema)}
    if not tables:
        if not create:
            raise NoDatabaseError(
                f"{url} has no tables of mcp-keys-server; 'serve' and 'users add' make them, or name another with "
                "--database"
            )
        if not await connection.fetchval(sql.HAS_SCHEMA, url.schema):
            await connection.execute(f'CREATE SCHEMA "{url.schema}"')
        return 0
    ours = tables >= {"meta", "users", "keys", "secrets", "events"}
    version = await connection.fetchval(READ_META, VERSION) if ours else None
    if version is None:
        raise UnusableDatabaseError(
            f"the schema {url.schema} of {url} is another program's; name another one with ?schema=NAME"
        )
    newest = migrations("postgres")[-1][0]
    if int(version) > newest:
        raise UnusableDatabaseError(
            f"{url} was made by a newer mcp-keys-server (schema {int(version)}; this one knows {newest}); "
            "update this one"
        )
    return int(version)
