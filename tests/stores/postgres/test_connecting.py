import asyncio
import sys

import asyncpg
import pytest

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores.opening import driver_explained
from mcp_keys_server.stores.postgres.connecting import reason


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
