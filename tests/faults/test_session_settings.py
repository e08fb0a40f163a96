"""What an administrator of the database has set for the role or the database as a default of each session."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from mcp_keys_server import InvalidApiKeyError, RequestedGrant, UnusableDatabaseError, open_key_ring
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.opening import open_database
from mcp_keys_server.stores.postgres.store import PostgresStore
from tests.databases import PostgresDatabase, needs_postgres
from tests.world import SettableClock

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
def kind() -> str:
    return "postgres"


@pytest.fixture
def role(database: PostgresDatabase) -> Iterator[str]:
    name = f"role_{secrets.token_hex(4)}"
    database.sql(f"CREATE ROLE {name} LOGIN SUPERUSER")
    yield name
    database.sql("SET client_min_messages = error", f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def as_role(database: PostgresDatabase, role: str) -> str:
    scheme, _, rest = str(database).partition("://")
    return f"{scheme}://{role}@{rest.rpartition('@')[2]}"


def set_for(database: PostgresDatabase, role: str, **settings: str) -> None:
    database.sql(*(f"ALTER ROLE {role} SET {name} = {value}" for name, value in settings.items()))


async def a_life(url: str) -> None:
    """Of keys, from the tables that are made to the ledger that is followed."""
    clock = SettableClock(utc_now())
    async with open_key_ring(url, bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
        await ring.administration.add_user("ada", email="ada@example.com", name="Ada \u0141")
        for_a_month = RequestedGrant(expires_in_days=30)
        made, key = await ring.administration.create_key("ada", name="A", requested=for_a_month)
        caller = await ring.verifier.verify(key.reveal())
        asked = await ring.manager.create_unclaimed_key(caller, name="B", requested=RequestedGrant())
        _, claimed = await ring.manager.claim_key(caller, key_id=asked.key_id, claimed_from="127.0.0.1")
        await ring.manager.revoke_key(caller, key_id=asked.key_id, reason=None)
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(claimed.reveal())
        (kept,) = await ring.administration.list_keys("ada")
        assert (kept.grant, kept.created_at) == (made.grant, made.created_at)
        clock.advance(days=30)
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(key.reveal())
        await ring.administration.verify_events()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {
                "timezone": "'Pacific/Kiritimati'",
                "datestyle": "'SQL, DMY'",
                "intervalstyle": "sql_standard",
                "bytea_output": "escape",
                "standard_conforming_strings": "off",
                "client_encoding": "latin1",
                "array_nulls": "off",
            },
            id="how things are written",
        ),
        pytest.param(
            {"statement_timeout": "1", "lock_timeout": "1", "idle_in_transaction_session_timeout": "1"}, id="time-outs"
        ),
        pytest.param(
            {"default_transaction_isolation": "serializable", "default_transaction_read_only": "on"}, id="transactions"
        ),
        pytest.param({"search_path": "elsewhere", "plan_cache_mode": "force_custom_plan"}, id="where and how it looks"),
    ],
)
async def test_what_is_set_for_the_role_changes_nothing(
    database: PostgresDatabase, role: str, settings: dict[str, str]
) -> None:
    set_for(database, role, **settings)
    await a_life(as_role(database, role))


async def test_many_who_start_at_once_share_one_database_whatever_transactions_are_by_default(
    database: PostgresDatabase, role: str
) -> None:
    """One whose transaction saw what there was before it waited would make the tables again."""
    set_for(database, role, default_transaction_isolation="serializable")

    async def start() -> bytes:
        async with open_database(as_role(database, role)) as opened:
            return opened.checksum_secrets.found[0]

    assert len(set(await asyncio.gather(*(start() for _ in range(8))))) == 1


async def test_sessions_that_are_ended_when_they_are_idle_are_made_again_and_nobody_is_told(
    database: PostgresDatabase, role: str
) -> None:
    set_for(database, role, idle_session_timeout="'500ms'")
    async with open_key_ring(as_role(database, role), bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user("ada")
        _, key = await ring.administration.create_key("ada", name="A", requested=RequestedGrant())
        await ring.verifier.verify(key.reveal())
        assert isinstance(ring.store, PostgresStore)
        connections = ring.store._connections
        assert connections.lookups._connection is not None
        async with asyncio.timeout(60):
            while connections._pool.get_size() or not connections.lookups._connection.is_closed():
                await asyncio.sleep(0.01)
        await ring.verifier.verify(key.reveal())
        await ring.administration.list_users()


async def test_a_role_whose_sessions_may_forget_is_told_what_to_do(database: PostgresDatabase, role: str) -> None:
    set_for(database, role, synchronous_commit="off")
    with pytest.raises(UnusableDatabaseError, match=f"ALTER ROLE {role} SET synchronous_commit = on"):
        await a_life(as_role(database, role))
