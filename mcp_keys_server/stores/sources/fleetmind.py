"""The keys of a FleetMind, whose table is ``api_keys`` in PostgreSQL or in an SQLite file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mcp_keys_server.core.errors import UnusableSourceError
from mcp_keys_server.core.source_row import SourceRow
from mcp_keys_server.stores.sources.file import columns, open_source, require_columns, rows

NEEDED: Final = frozenset({"key_id", "user_id", "email", "name", "api_key_hash", "api_key_prefix", "is_active"})
SECONDS_TO_CONNECT: Final = 10
SECONDS_TO_READ: Final = 600

READ_KEYS: Final = "SELECT * FROM api_keys ORDER BY key_id"
READ_COLUMNS_IN_POSTGRES: Final = """
SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('api_keys') AND attnum > 0 AND NOT attisdropped
"""
# Times as text, because the driver reads none of those of which Python has no datetime, and then not one row.
READ_KEYS_IN_POSTGRES: Final = """
SELECT key_id, user_id, email, name, api_key_hash, api_key_prefix, is_active,
       to_jsonb(api_keys) ->> 'created_at' AS created_at, to_jsonb(api_keys) ->> 'last_used_at' AS last_used_at
FROM api_keys
ORDER BY key_id
"""
_SESSION: Final = {
    "default_transaction_read_only": "on",
    "timezone": "UTC",
    "datestyle": "ISO",
    "application_name": "mcp-keys-server import",
}


def read_fleetmind_file(path: Path) -> Sequence[SourceRow]:
    """All rows.

    Raises:
        UnusableSourceError: It cannot be read; the message says why and what to do.
    """
    with open_source(path) as connection:
        require_columns(columns(connection, "api_keys"), NEEDED, table="api_keys", where=str(path))
        return rows(connection, READ_KEYS)


async def read_fleetmind_server(url: str) -> Sequence[SourceRow]:
    """The same from PostgreSQL. No message holds anything of the URL, in which there may be a password.

    Raises:
        UnusableSourceError: It cannot be read; the message says why and what to do.
    """
    try:
        import asyncpg  # noqa: PLC0415 - an extra, which nothing else here needs
    except ImportError:
        raise UnusableSourceError(
            f"PostgreSQL needs one more package; run: {sys.executable} -m pip install 'mcp-keys-server[postgres]'"
        ) from None
    try:
        connection = await asyncpg.connect(
            url, timeout=SECONDS_TO_CONNECT, command_timeout=SECONDS_TO_READ, server_settings=_SESSION
        )
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                found = frozenset(record[0] for record in await connection.fetch(READ_COLUMNS_IN_POSTGRES))
                require_columns(found, NEEDED, table="api_keys", where="this PostgreSQL database")
                return [dict(record) for record in await connection.fetch(READ_KEYS_IN_POSTGRES)]
        finally:
            await connection.close()
    except asyncpg.InvalidAuthorizationSpecificationError as error:  # a wrong password is one of these
        raise UnusableSourceError("PostgreSQL refuses this user or password") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise UnusableSourceError("PostgreSQL has no database of this name") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnusableSourceError("this PostgreSQL user may not read the table api_keys; grant them SELECT") from error
    except ValueError as error:  # the driver's own error of this is one, too
        raise UnusableSourceError("the URL is none of PostgreSQL: postgresql://USER@HOST:PORT/DATABASE") from error
    except (OSError, TimeoutError) as error:
        raise UnusableSourceError("PostgreSQL does not answer under this address, or not in time") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise UnusableSourceError(f"PostgreSQL cannot be read: {type(error).__name__}") from error
