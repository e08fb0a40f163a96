"""How every connection to PostgreSQL is made, and what its errors mean."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import asyncpg
import asyncpg.pool
from asyncpg.connect_utils import SessionAttribute

from mcp_keys_server.core.errors import StoreUnavailableError, UnusableDatabaseError
from mcp_keys_server.stores.postgres.primary import first_primary
from mcp_keys_server.stores.postgres.url import PostgresUrl

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Connect: TypeAlias = Callable[..., Coroutine[object, object, Connection]]

SECONDS_TO_CONNECT = 3
SECONDS_FOR_A_STATEMENT = 4
"""Of which the server gives up first, so that the connection can go on to be used."""
SECONDS_OF_AN_IDLE_TRANSACTION = 10
"""After that the server ends one whose process has stopped or lost its network, and with it what it held."""

TROUBLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    ValueError,
    OverflowError,
)
"""What the driver and the system say, and what a damaged row gives rise to."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of one that the server has ended with a last word
    ConnectionError,
)
"""What is said of a connection that is there no more; of a slow one it is not."""

_SETTINGS = {
    "application_name": "mcp-keys-server",
    "timezone": "UTC",
    # Whatever is the default of the role: one that sees nothing new once it has begun would, after it has waited for
    # another to make the tables, make them again.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "statement_timeout": f"{SECONDS_FOR_A_STATEMENT - 1}s",
    "lock_timeout": f"{SECONDS_FOR_A_STATEMENT - 1}s",
    "idle_in_transaction_session_timeout": f"{SECONDS_OF_AN_IDLE_TRANSACTION}s",
    # A process that has gone without a word holds its locks no longer than this.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
}


def connector(url: PostgresUrl) -> Connect:
    """What makes a connection to the primary, on which our tables are found without naming their schema."""

    async def connect_to(dsn: str) -> Connection:
        return await asyncpg.connect(
            dsn,
            timeout=SECONDS_TO_CONNECT,
            command_timeout=SECONDS_FOR_A_STATEMENT,
            server_settings={**_SETTINGS, "search_path": f"{url.schema}, pg_temp"},
            # What a standby says of a revocation is older than what the primary says.
            target_session_attrs=SessionAttribute.primary,
        )

    hosts = [partial(connect_to, dsn) for dsn in url.reveal_each()]

    async def connect(*_: object, **__: object) -> Connection:
        async with asyncio.timeout(SECONDS_TO_CONNECT):
            return await first_primary(hosts)

    return connect


@contextmanager
def trouble_named() -> Iterator[None]:
    try:
        yield
    except TROUBLE as error:
        raise trouble(error) from error


def trouble(error: Exception) -> StoreUnavailableError:
    return StoreUnavailableError(f"PostgreSQL does not answer: {reason(error)}")


def reason(error: Exception) -> str:
    """What the error says, without the detail, which quotes rows."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error.args[0]) if error.args else type(error).__name__


@contextmanager
def refusal_explained(url: PostgresUrl) -> Iterator[None]:
    """Say in a sentence what to do about a database that cannot be opened."""
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError) as error:
        advice = "see the user and the password in the URL, in PGPASSWORD or in ~/.pgpass, and pg_hba.conf"
        raise _unusable(url, error, advice) from None
    except asyncpg.InvalidCatalogNameError as error:
        raise _unusable(url, error, "make it with createdb, or name another in the URL") from None
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
        # Whoever may not look into a schema does not find what is in it.
        advice = (
            "as the owner of the tables, run: mcp-keys-server database migrate --create --grant-to ROLE, with the role "
            "of the servers; see the README"
        )
        raise _unusable(url, error, advice) from None
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise _unusable(url, error, "name the primary in the URL: keys are never read from a standby") from None
    except asyncpg.TooManyConnectionsError as error:
        advice = "see max_connections of the server, the CONNECTION LIMIT of the role, and who else has connections"
        raise _unusable(url, error, advice) from None
    except ssl.SSLError as error:
        raise _unusable(url, error, "see sslmode and sslrootcert in the URL") from None
    except TROUBLE as error:
        raise _unusable(url, error, "see that it runs and that the URL is right") from None


def _unusable(url: PostgresUrl, error: Exception, advice: str) -> UnusableDatabaseError:
    return UnusableDatabaseError(f"{url} cannot be used: {reason(error)}; {advice}")
