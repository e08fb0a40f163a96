import asyncio
import ssl
import sys

import asyncpg
import pytest

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores.opening import driver_explained
from mcp_keys_server.stores.postgres.connecting import reason, refusal_explained
from mcp_keys_server.stores.postgres.url import PostgresUrl


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("by whom nobody knows"), "it took too long"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ConnectionError("the connection is closed"), "the connection is closed"),
        (asyncpg.UniqueViolationError("duplicate key", "of this row"), "duplicate key"),
        (ConnectionResetError(), "ConnectionResetError"),
        (asyncio.IncompleteReadError(b"", 1), "0 bytes read on a total of 1 expected bytes"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_what_is_said_of_an_error_is_short_and_quotes_no_row(error: Exception, said: str) -> None:
    assert reason(error) == said


def test_a_driver_that_is_not_there_is_told_how_to_get() -> None:
    with (
        pytest.raises(UnusableDatabaseError, match="^PostgreSQL needs one more package; run: ") as told,
        driver_explained(),
    ):
        raise ImportError
    assert f"{sys.executable} -m pip install 'mcp-keys-server[postgres]'" in str(told.value)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (asyncpg.InvalidPasswordError("no"), "~/.pgpass"),
        (asyncpg.InvalidAuthorizationSpecificationError("no"), "pg_hba.conf"),
        (asyncpg.InvalidCatalogNameError("no"), "createdb"),
        (asyncpg.InsufficientPrivilegeError("no"), "--grant-to ROLE"),
        (asyncpg.UndefinedTableError("no"), "--grant-to ROLE"),
        (asyncpg.TargetServerAttributeNotMatched("no"), "name the primary"),
        (asyncpg.TooManyConnectionsError("no"), "max_connections"),
        (ssl.SSLError(1, "no"), "sslrootcert"),
        (ConnectionRefusedError(111, "no"), "see that it runs"),
    ],
)
def test_why_a_database_cannot_be_opened_is_a_sentence_that_says_what_to_do(error: Exception, advice: str) -> None:
    url = PostgresUrl("postgresql://ada:s3@localhost/keys")
    with pytest.raises(UnusableDatabaseError) as told, refusal_explained(url):
        raise error
    assert str(told.value).startswith("postgresql://ada@localhost/keys cannot be used: no; ")
    assert advice in str(told.value)
