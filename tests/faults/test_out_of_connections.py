"""PostgreSQL that gives no more connections, and connections of which all are taken."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from mcp_keys_server import ApiKey, KeyRing, RequestedGrant, StoreUnavailableError, UnusableDatabaseError, open_key_ring
from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.faults.callers import Request, application
from tests.postgres_server import PostgresServer, a_postgres_server, needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]
MOST = 12
RESERVED_FOR_SUPERUSERS = 3
END_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mcp-keys-server'"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    few = {"max_connections": str(MOST), "superuser_reserved_connections": str(RESERVED_FOR_SUPERUSERS)}
    with a_postgres_server(few) as server:
        server.sql("CREATE ROLE serving LOGIN")
        server.sql("GRANT CREATE ON DATABASE postgres TO serving")
        yield server


@asynccontextmanager
async def ring_of(server: PostgresServer, schema: str) -> AsyncIterator[tuple[KeyRing, ApiKey]]:
    url = server.url(user="serving", query=f"?schema={schema}")
    async with open_key_ring(url, bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user("ada")
        _, key = await ring.administration.create_key("ada", name="A", requested=RequestedGrant())
        await ring.verifier.verify(key.reveal())
        yield ring, key


@asynccontextmanager
async def all_taken(server: PostgresServer) -> AsyncIterator[None]:
    """By others, and none of ours is left."""
    taken: list[asyncpg.Connection[asyncpg.Record]] = []
    superuser = await asyncpg.connect(server.url())
    try:
        async with asyncio.timeout(60):
            await _take(server, taken)
            while await superuser.fetch(END_OURS):
                await _take(server, taken)
        yield
    finally:
        for connection in (superuser, *taken):
            connection.terminate()


async def _take(server: PostgresServer, taken: "list[asyncpg.Connection[asyncpg.Record]]") -> None:
    """All that there are."""
    with suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(server.url(user="serving")))


async def status_of(ring: KeyRing, key: ApiKey) -> int:
    request = Request(key)
    await request.run(KeyGuard(application, ring.verifier, ring.open_responses))
    return request.status


async def until_ready(ring: KeyRing) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await ring.store.check()
            except StoreUnavailableError:
                await asyncio.sleep(0.01)


async def test_a_server_that_gives_no_more_connections_is_a_503_until_it_gives_some(server: PostgresServer) -> None:
    async with ring_of(server, "refused") as (ring, key):
        for _ in range(2):
            async with all_taken(server):
                assert await status_of(ring, key) == 503
                writes = (ring.administration.add_user(f"user{number}") for number in range(8))
                told = await asyncio.gather(*writes, ring.store.check(), return_exceptions=True)
                assert {type(error) for error in told} == {StoreUnavailableError}
                assert any("connection slots" in str(error) for error in told), told
            await until_ready(ring)
            assert await status_of(ring, key) == 200
            await ring.administration.find_or_add_user("bob", email=None, name=None)


async def test_a_server_that_gives_no_more_connections_is_a_sentence_at_the_start(server: PostgresServer) -> None:
    async with all_taken(server):
        with pytest.raises(UnusableDatabaseError, match="max_connections"):
            async with open_key_ring(server.url(user="serving"), bcrypt_cost=CHEAPEST_COST):
                raise AssertionError


async def test_when_all_connections_are_at_work_for_long_keys_are_checked_all_the_same(server: PostgresServer) -> None:
    users = [f"user{number}" for number in range(20)]  # because the changes of one take one connection
    async with ring_of(server, "slow") as (ring, key):
        for user in users:
            await ring.administration.add_user(user)
        other = await asyncpg.connect(server.url(), server_settings={"search_path": "slow"})
        async with other.transaction():
            await other.execute("SELECT 1 FROM users FOR UPDATE")
            creating = [
                asyncio.create_task(ring.administration.create_key(user, name="A", requested=RequestedGrant()))
                for user in users
            ]
            async with asyncio.timeout(60):
                while not all(task.done() for task in creating):
                    assert await status_of(ring, key) == 200
                    await asyncio.sleep(0.01)
        told = await asyncio.gather(*creating, return_exceptions=True)
        assert {type(error) for error in told} == {StoreUnavailableError}
        assert {str(error).partition(":")[0] for error in told} <= {
            "PostgreSQL does not answer",
            "PostgreSQL gave no connection within 3 seconds",
        }
        await other.close()
        await ring.administration.create_key("ada", name="A", requested=RequestedGrant())
        await ring.store.check()
