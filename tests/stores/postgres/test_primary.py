"""Several hosts in one URL."""

import asyncio
import logging
import socket
from collections.abc import Iterator

import anyio
import asyncpg
import pytest

from mcp_keys_server import UnusableDatabaseError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from mcp_keys_server.stores.postgres.primary import first_primary
from tests.databases import PostgresDatabase, needs_postgres, postgres_url

pytestmark = [pytest.mark.anyio, needs_postgres]
Connection = asyncpg.Connection


@pytest.fixture
def kind() -> str:
    return "postgres"


@pytest.fixture
def hung() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """A host that takes none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def with_hosts(database: PostgresDatabase, *hosts: str) -> str:
    """The database's URL with these hosts before its own."""
    user, at, rest = str(database).rpartition("@")
    return f"{user}{at}{','.join([*hosts, rest])}"


async def test_a_host_that_never_answers_keeps_nobody_from_the_one_that_does(
    database: PostgresDatabase, hung: str, closed: str
) -> None:
    async with open_key_ring(with_hosts(database, hung, closed), bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user("ada")
        await ring.store.check()


async def test_where_none_answers_it_is_a_sentence(hung: str, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connecting, "SECONDS_TO_CONNECT", 1)
    for hosts, sentence in (((hung, closed), "it took too long"), ((closed, closed), "cannot be used: .*see that it")):
        url = f"postgresql://postgres@{','.join(hosts)}/postgres"
        with pytest.raises(UnusableDatabaseError, match=sentence):
            async with open_key_ring(url, bcrypt_cost=CHEAPEST_COST):
                raise AssertionError


async def test_whoever_has_not_answered_is_waited_for_no_longer_once_another_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = asyncio.Event()
    never: asyncio.Future[Connection[asyncpg.Record]] = asyncio.Future()  # kept, or its task would just vanish

    async def say_nothing() -> "Connection[asyncpg.Record]":
        try:
            return await never
        finally:
            left.set()

    async def connect() -> "Connection[asyncpg.Record]":
        return await asyncpg.connect(postgres_url())

    chosen = await first_primary([say_nothing, connect])
    await asyncio.wait_for(left.wait(), 20)
    await chosen.close()
    assert never.cancelled()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_of_two_that_answer_at_once_one_is_let_go_of() -> None:
    made: list[Connection[asyncpg.Record]] = []
    both = asyncio.Barrier(2)

    async def connect() -> "Connection[asyncpg.Record]":
        connection = await asyncpg.connect(postgres_url())
        made.append(connection)
        await both.wait()
        return connection

    with anyio.fail_after(60):
        chosen = await first_primary([connect, connect])
        (other,) = [connection for connection in made if connection is not chosen]
        while not other.is_closed():
            await asyncio.sleep(0)
    assert await chosen.fetchval("SELECT 1") == 1
    await chosen.close()


async def test_what_a_host_says_tells_more_than_that_another_is_a_standby() -> None:
    async def is_standby() -> "Connection[asyncpg.Record]":
        raise asyncpg.TargetServerAttributeNotMatched("none matches")

    async def is_gone() -> "Connection[asyncpg.Record]":
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await first_primary([is_standby, is_gone, is_standby])
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await first_primary([is_standby, is_standby])
