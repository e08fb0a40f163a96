"""The store on a PostgreSQL server that goes away, comes back, is slow, or is not alone."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import NoReturn

import anyio
import asyncpg
import pytest

from mcp_keys_server import (
    Grant,
    InvalidApiKeyError,
    KeyRing,
    Refusal,
    RequestedGrant,
    StoreUnavailableError,
    open_key_ring,
)
from mcp_keys_server.core.changes import RevokeKey
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import ProvenHash, Use
from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from mcp_keys_server.stores.postgres import connections as postgres_connections
from mcp_keys_server.stores.postgres import lookups as postgres_lookups
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connections import PostgresConnections, open_postgres
from mcp_keys_server.stores.postgres.store import PostgresStore
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql.database import Transaction
from tests.databases import PostgresDatabase, needs_postgres
from tests.postgres_server import PostgresServer, a_postgres_server, needs_postgres_programs
from tests.replacing import replace
from tests.stores.changing import NOON, a_key, a_prefix, add, deciding, holdings_of
from tests.world import World, prefix_of

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
def kind() -> str:
    return "postgres"


@asynccontextmanager
async def opened(database: PostgresDatabase, *, most: int = 4) -> AsyncIterator[PostgresConnections]:
    async with open_postgres(database.setting, create=True, most=most) as connections:
        yield connections


@asynccontextmanager
async def another_hand(database: PostgresDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of another program."""
    settings = {"search_path": database.schema}
    connection = await asyncpg.connect(database.setting.reveal(), server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class Watcher:
    heard: asyncio.Event

    def changing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def look_soon(self) -> None:
        self.heard.set()


def postgres_of(world: World) -> PostgresDatabase:
    assert isinstance(world.database, PostgresDatabase)
    return world.database


async def test_look_ups_that_wait_together_are_one_statement(world: World) -> None:
    keys = [await world.key() for _ in range(3)]
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        asked: list[list[str]] = []
        fetch = connections.lookups._fetch

        async def counted(prefixes: list[str]) -> "list[asyncpg.Record]":
            asked.append(prefixes)
            return await fetch(prefixes)

        connections.lookups._fetch = counted  # type: ignore[method-assign]
        prefixes = [key.prefix for _, key in keys] * 5 + ["unknown!"]
        found = await asyncio.gather(*map(store.read_secret, prefixes))
    assert [secret and secret.principal.key_id for secret in found] == [record.key_id for record, _ in keys] * 5 + [
        None
    ]
    # Who came first was alone.
    assert [sorted(batch) for batch in asked] == [[prefixes[0]], sorted(set(prefixes))]


async def test_whoever_asks_while_a_statement_is_on_its_way_waits_for_the_next(world: World) -> None:
    record, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        before = asyncio.create_task(store.read_secret(key.prefix))
        for _ in range(3):  # until it is on its way
            await asyncio.sleep(0)
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        after = await store.read_secret(key.prefix)
        assert after is not None
        assert after.revoked
        assert await before is not None


async def test_a_look_up_that_nobody_waits_for_any_more_troubles_no_other(world: World) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        for turns, goes in product(range(6), range(2)):  # who asks in person, or who waits
            asked = [asyncio.create_task(store.read_secret(key.prefix)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            gone = asked.pop(goes)
            gone.cancel()
            assert None not in await asyncio.gather(*asked)
            await asyncio.wait([gone])


async def test_a_look_up_that_is_given_up_half_way_leaves_the_next_one_its_turn(world: World) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        assert await store.read_secret(key.prefix) is not None
        for turns in range(4):
            given_up = asyncio.create_task(store.read_secret(key.prefix))
            for _ in range(turns):
                await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            # Or the next one would wait until the server agrees, which may be for ever.
            assert (connections.lookups._connection is None) == (turns > 0)
            assert await store.read_secret(key.prefix) is not None


async def test_look_ups_go_by_the_primary_keys_and_are_planned_once(world: World) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        await PostgresStore(connections).read_secret(key.prefix)
        connection = connections.lookups._connection
        assert connection is not None
        plans = await connection.fetch("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
        assert [(one[1], one[2]) for one in plans if "ANY($1::text[])" in one[0]] == [(1, 0)]
        planned = await connection.fetch("EXPLAIN " + sql.READ_SECRETS.replace("$1", "ARRAY['x']"))
        assert not any("Seq Scan" in line for (line,) in planned)


@pytest.mark.parametrize("connected", [False, True])
async def test_a_look_up_when_it_is_being_closed_is_refused_without_a_word(
    world: World, caplog: pytest.LogCaptureFixture, *, connected: bool
) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        if connected:
            await store.read_secret(key.prefix)
        waiting = [asyncio.create_task(store.read_secret(key.prefix)) for _ in range(2)]
        await asyncio.sleep(0)
        await connections.lookups.close()
        for look_up in (*waiting, store.read_secret(key.prefix)):
            with pytest.raises(StoreUnavailableError):
                await look_up
        assert connections.lookups._connection is None
    assert not caplog.messages


async def test_look_ups_that_are_on_their_way_for_several_when_it_is_being_closed_are_refused(world: World) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        await store.read_secret(key.prefix)
        waiting = [asyncio.create_task(store.read_secret(key.prefix)) for _ in range(3)]
        while connections.lookups._carrier is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await connections.lookups.close()
        _, *others = await asyncio.gather(*waiting, return_exceptions=True)
        with anyio.fail_after(30), pytest.raises(StoreUnavailableError, match="being closed"):
            await store.read_secret(key.prefix)
    assert [type(other) for other in others] == [StoreUnavailableError] * 2


async def test_who_waited_for_a_look_up_when_it_is_closed_makes_no_connection_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> NoReturn:
        made.append("a connection")
        raise ConnectionRefusedError

    made = list[str]()
    async with opened(postgres_of(world)) as connections:
        await connections.lookups.look_up("")
        monkeypatch.setattr(connections.lookups, "_connect", connect)
        waiting = [asyncio.create_task(connections.lookups.look_up("")) for _ in range(2)]
        await asyncio.sleep(0)
        await connections.lookups.close()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
    assert ([type(one) for one in told], made) == ([StoreUnavailableError] * 2, [])


@dataclass
class SlowStatement:
    async def fetch(self, _: list[str]) -> NoReturn:
        raise TimeoutError


async def test_a_look_up_that_took_too_long_leaves_its_connection_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store, lookups = PostgresStore(connections), connections.lookups
        await store.read_secret(key.prefix)
        connection = lookups._connection
        monkeypatch.setattr(lookups, "_statement", SlowStatement())
        assert connection is not None
        with pytest.raises(StoreUnavailableError, match="too long"):
            await store.read_secret(key.prefix)
        assert connection.is_closed()
        assert await store.read_secret(key.prefix) is not None


async def test_a_connection_on_which_nothing_can_be_prepared_is_not_left_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[postgres_connecting.Connection] = []
    async with opened(postgres_of(world)) as connections:
        connect = connections.lookups._connect

        async def noted() -> postgres_connecting.Connection:
            made.append(await connect())
            return made[-1]

        monkeypatch.setattr(connections.lookups, "_connect", noted)
        monkeypatch.setattr(sql, "READ_SECRETS", "no statement")
        with pytest.raises(StoreUnavailableError):
            await connections.lookups.look_up("")
    assert [connection.is_closed() for connection in made] == [True]


async def test_a_write_when_it_is_being_closed_is_refused(world: World) -> None:
    async with opened(postgres_of(world)) as connections:
        pass
    with pytest.raises(StoreUnavailableError, match="being closed"):
        await PostgresStore(connections).record_use({})


async def test_a_look_up_whose_connection_is_gone_without_a_word_is_made_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await world.key()
    async with opened(postgres_of(world)) as connections:
        store = PostgresStore(connections)
        await store.read_secret(key.prefix)
        connection = connections.lookups._connection
        assert connection is not None
        connection.terminate()
        for _ in range(2):
            assert await store.read_secret(key.prefix) is not None
    assert [message.partition(":")[0] for message in caplog.messages if "PostgreSQL" in message] == [
        "a connection to PostgreSQL was lost, and is made again"
    ]


async def test_a_damaged_row_is_the_stores_trouble_and_never_access(world: World) -> None:
    _, key = await world.key()
    world.sql("UPDATE keys SET expires_at = '0044-03-15 BC'")
    with pytest.raises((StoreUnavailableError, InvalidApiKeyError)):
        await world.ring.verifier.verify(key.reveal())
    world.database.tamper("UPDATE events SET kind = 'nonsense'")
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.list_events()


async def test_more_than_there_are_connections_wait_for_a_while_and_are_refused(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, most=1) as connections:
        store = PostgresStore(connections)
        assert await asyncio.gather(*(store.list_users() for _ in range(20))) == [[]] * 20
        monkeypatch.setattr(postgres_connections, "SECONDS_TO_CONNECT", 0.01)
        async with connections._connection():
            with pytest.raises(StoreUnavailableError, match=r"all 1 of this process are in use \(database_connections"):
                await store.list_users()
            assert await store.read_secret("unknown!") is None
        assert await store.list_users() == []


async def test_a_statement_that_waits_for_another_program_for_too_long_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_connecting._SETTINGS, "lock_timeout", "10ms")
    async with opened(postgres_of(world)) as connections, another_hand(postgres_of(world)) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE users")
            with pytest.raises(StoreUnavailableError, match="lock timeout"):
                await PostgresStore(connections).list_users()
        assert len(await PostgresStore(connections).list_users()) == 2


async def test_a_connection_that_took_too_long_is_given_up_at_once(database: PostgresDatabase) -> None:
    async def take_too_long(connections: PostgresConnections) -> None:
        async with connections._connection():
            raise TimeoutError

    async with opened(database) as connections:
        with pytest.raises(TimeoutError):
            await take_too_long(connections)
        assert connections._pool.get_size() == 0


async def test_whoever_cannot_look_keys_up_is_not_ready(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> NoReturn:
        raise ConnectionResetError

    async with opened(database) as connections:
        await connections.check()
        monkeypatch.setattr(connections.lookups, "look_up", fail)
        with pytest.raises(StoreUnavailableError):
            await connections.check()


async def test_of_two_writes_that_wait_for_each_other_both_are_made(world: World) -> None:
    for number in range(2):
        await add(world.ring.store, a_key(number))
    met = asyncio.Barrier(2)
    tries: list[str] = []

    def crossing(first: int, second: int) -> object:
        async def work(transaction: Transaction) -> None:
            tries.append(a_prefix(first))
            for number in (first, second):
                await transaction.fetch("UPDATE secrets SET key_hash = $1 WHERE prefix = $2", "x", a_prefix(number))
                if len(tries) <= 2 and number == first:
                    await met.wait()

        return work

    async with opened(postgres_of(world)) as connections:
        await asyncio.gather(*(connections.write(crossing(*pair)) for pair in ((0, 1), (1, 0))))  # type: ignore[arg-type]
    assert len(tries) >= 3
    assert world.sql("SELECT DISTINCT key_hash FROM secrets") == [("x",)]


async def write_down_a_proof(store: KeyStore, prefix: str) -> None:
    await store.record_proofs({prefix: ProvenHash("hash", b"proof")})


async def write_down_a_use(store: KeyStore, prefix: str) -> None:
    await store.record_use({prefix: Use(count=1, last_used_at=NOON, last_used_from=None)})


@pytest.mark.parametrize("write_down", [write_down_a_proof, write_down_a_use])
async def test_what_is_noted_of_keys_is_written_in_their_turn(
    world: World, write_down: Callable[[KeyStore, str], Coroutine[None, None, None]]
) -> None:
    """So that two who write down something of the same secrets, each in another order, never wait for each other."""
    key = await add(world.ring.store, a_key(), "hash")
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM keys%NO KEY UPDATE%'"
    async with another_hand(postgres_of(world)) as other, asyncio.timeout(10):
        async with other.transaction():
            await other.execute("SELECT 1 FROM keys FOR NO KEY UPDATE")
            written = asyncio.create_task(write_down(world.ring.store, prefix_of(key)))
            while not await other.fetch(waiting):
                assert not written.done()
                await other.execute("SELECT pg_stat_clear_snapshot()")  # or else a transaction sees the same for ever
            await other.execute("SELECT 1 FROM secrets FOR UPDATE NOWAIT")
        await written
    assert world.sql("SELECT 1 FROM secrets WHERE proof = 'proof' OR last_used_at IS NOT NULL") == [(1,)]


async def test_a_write_that_meets_others_again_and_again_is_given_up(world: World) -> None:
    tries: list[int] = []

    async def work(_: Transaction) -> None:
        tries.append(1)
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    async with opened(postgres_of(world)) as connections:
        with pytest.raises(StoreUnavailableError, match="deadlock detected"):
            await connections.write(work)
    assert len(tries) == postgres_connections.MOST_TRIES


async def test_what_ends_a_key_is_heard_by_other_processes_and_what_does_not_is_not(world: World) -> None:
    key = await add(world.ring.store, a_key())
    async with opened(postgres_of(world)) as connections:
        heard = asyncio.Event()
        connections.writes.watch(Watcher(heard))
        await connections.lookups.look_up("unknown!")  # from then on it listens
        await add(world.ring.store, a_key(1))
        await holdings_of(world.ring.store)
        await connections.lookups.look_up("unknown!")  # whatever there was to hear came before
        assert not heard.is_set()
        await world.ring.store.change("ada", deciding(RevokeKey(key)))
        await asyncio.wait_for(heard.wait(), 10)


async def test_what_is_said_while_nobody_wants_to_hear_it_is_no_error(world: World) -> None:
    key = await add(world.ring.store, a_key())
    async with opened(postgres_of(world)) as connections:
        await connections.lookups.look_up("unknown!")
        await world.ring.store.change("ada", deciding(RevokeKey(key)))
        await connections.lookups.look_up("unknown!")
        await connections.check()


async def test_a_machine_whose_clock_goes_wrong_is_no_longer_ready(database: PostgresDatabase) -> None:
    wrong = [timedelta()]

    def clock() -> datetime:
        return datetime.now(UTC) + wrong[0]

    async with open_postgres(database.setting, create=True, most=1, clock=clock) as connections:
        await connections.check()
        for wrong[0] in (timedelta(minutes=1), -timedelta(minutes=1)):
            with pytest.raises(StoreUnavailableError, match=r"clock is 60 seconds away.*NTP"):
                await connections.check()
        wrong[0] = timedelta()
        await connections.check()


@pytest.mark.parametrize("ahead", [-20, 0, 20])
async def test_a_key_ends_when_it_does_by_either_clock(database: PostgresDatabase, ahead: int) -> None:
    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=ahead)

    async with open_key_ring(str(database)) as ring:
        await ring.administration.add_user("ada")
    async with open_postgres(database.setting, create=False, most=1, clock=clock) as connections:
        store = PostgresStore(connections)
        for number, seconds in enumerate((-3600, -10, 10, 3600)):
            grant = Grant(frozenset(), None, datetime.now(UTC) + timedelta(seconds=seconds))
            await add(store, a_key(number, grant=grant))
            record = await store.read_secret(a_prefix(number))
            assert record is not None
            in_turn = await store.read_secret_in_turn(a_prefix(number))
            assert in_turn is not None
            assert in_turn.principal == record.principal
            is_over = seconds < max(0, ahead)
            assert record.refusal(clock()) is (Refusal.EXPIRED if is_over else None)


async def test_of_a_connection_that_is_ended_in_the_midst_it_is_told_why(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.fetch("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)")

    async with opened(postgres_of(world)) as connections:
        for _ in range(5):
            with pytest.raises(StoreUnavailableError, match="terminating connection due to administrator command"):
                await connections.write(work)
        assert len(await PostgresStore(connections).list_users()) == 2


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with a_postgres_server() as server:
        yield server


@pytest.fixture
async def ring(server: PostgresServer, request: pytest.FixtureRequest) -> AsyncIterator[KeyRing]:
    schema = f"test_{abs(hash(request.node.name))}"
    async with open_key_ring(server.url(query=f"?schema={schema}"), bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user("ada")
        yield ring


async def assert_unavailable(ring: KeyRing, presented: str) -> None:
    """For reads, writes, requests and readiness, each at once or after a bounded time."""
    uses = (
        ring.verifier.verify(presented),
        ring.administration.list_users(),
        ring.administration.add_user("eve"),
        ring.store.check(),
    )
    begun = time.monotonic()
    results = await asyncio.gather(*uses, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailableError] * len(uses)
    # The promise that a load balancer and a client count on: 5 seconds.
    assert time.monotonic() - begun < 10


@needs_postgres_programs
async def test_a_server_that_goes_away_lets_nobody_in_and_is_used_again_when_it_is_back(
    server: PostgresServer, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
    caplog.set_level(logging.INFO)
    for mode in ("immediate", "fast"):
        await ring.verifier.verify(key.reveal())
        caplog.clear()
        server.stop(mode)
        for _ in range(3):
            await assert_unavailable(ring, key.reveal())
        server.start()
        await ring.verifier.verify(key.reveal())
        await ring.store.check()
        await ring.administration.list_users()
        about = [message for name, _, message in caplog.record_tuples if name.endswith("postgres.lookups")]
        assert [message.partition(":")[0] for message in about] == [
            "a connection to PostgreSQL was lost, and is made again",
            "no key can be checked until PostgreSQL answers",
            "PostgreSQL answers again",
        ]


@needs_postgres_programs
async def test_a_server_that_stands_still_lets_nobody_in_until_it_goes_on(
    server: PostgresServer, ring: KeyRing
) -> None:
    _, key = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
    await ring.verifier.verify(key.reveal())
    with server.frozen():
        await assert_unavailable(ring, key.reveal())
    await ring.verifier.verify(key.reveal())
    await ring.administration.add_user("bob")
    await ring.store.check()


@needs_postgres_programs
async def test_whoever_comes_while_a_server_stands_still_waits_no_longer_than_who_came_first(
    server: PostgresServer,
) -> None:
    url = PostgresUrl(server.url(query="?schema=waiting"))
    async with open_postgres(url, create=True, most=1) as connections:
        lookups = connections.lookups
        await lookups.look_up("unknown!")
        connecting: list[int] = []
        connect = lookups._connect

        async def counted() -> "asyncpg.Connection[asyncpg.Record]":
            connecting.append(1)
            return await connect()

        lookups._connect = counted
        with server.frozen():
            asked = await asyncio.gather(*(lookups.look_up("unknown!") for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in asked] == [StoreUnavailableError] * 3
        assert not connecting
        assert await lookups.look_up("unknown!") is None


async def test_a_look_up_waits_for_all_that_it_needs_no_longer_than_for_one_statement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(postgres_of(world)) as connections:

        async def never() -> "asyncpg.Connection[asyncpg.Record]":
            await asyncio.Event().wait()
            raise AssertionError

        with monkeypatch.context() as hurried, anyio.fail_after(30):
            hurried.setattr(postgres_lookups, "SECONDS_FOR_A_STATEMENT", 0.01)
            hurried.setattr(connections.lookups, "_connect", never)
            with pytest.raises(StoreUnavailableError, match="it took too long"):
                await connections.lookups.look_up("unknown!")
        assert await connections.lookups.look_up("unknown!") is None


@needs_postgres_programs
async def test_connections_that_were_ended_while_nobody_used_them_are_made_again(
    server: PostgresServer, ring: KeyRing
) -> None:
    _, key = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
    assert isinstance(ring.store, PostgresStore)
    other = await asyncpg.connect(server.url())
    for _ in range(3):
        await ring.verifier.verify(key.reveal())
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mcp-keys-server'"
        )
        await ring.verifier.verify(key.reveal())
        with anyio.fail_after(30):
            while ring.store._connections._pool.get_size():  # until it is known of the others
                await asyncio.sleep(0)
        await ring.administration.list_users()
        await ring.store.record_use({key.prefix: Use(1, NOON)})
    await other.close()


async def test_the_server_gives_up_before_its_driver_does(world: World) -> None:
    """Or a connection would be given up with each statement that takes too long."""
    connection = await postgres_connecting.connector(postgres_of(world).setting)()
    try:
        for limit in ("statement_timeout", "lock_timeout"):
            seconds = postgres_connecting.SECONDS_FOR_A_STATEMENT - 1
            assert await connection.fetchval("SELECT current_setting($1)", limit) == f"{seconds}s"
    finally:
        await connection.close()


async def test_what_a_process_holds_that_stands_still_is_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hurried:
        hurried.setitem(postgres_connecting._SETTINGS, "idle_in_transaction_session_timeout", "50ms")
        stack = AsyncExitStack()
        paused = await stack.enter_async_context(opened(postgres_of(world)))
        await PostgresStore(paused).list_users()  # the connection is made with this setting
    holds, goes_on = asyncio.Event(), asyncio.Event()

    async def work(transaction: Transaction) -> None:
        assert await transaction.hold_user("ada")
        holds.set()
        await goes_on.wait()

    standing_still = asyncio.create_task(paused.write(work))
    await holds.wait()
    await world.key()
    goes_on.set()
    with pytest.raises(StoreUnavailableError):
        await standing_still
    await stack.aclose()


WAITING_FOR_LEDGER = """
SELECT 1 FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted AND classid::bigint = (hashtext(current_schema())::bigint & 4294967295)
"""


async def test_a_checksum_secret_is_not_forgotten_while_a_key_is_made_with_it(world: World) -> None:
    """Whoever makes one holds the ledger, and whoever forgets looks at what is needed when it is free."""
    (record, key), administration = await world.key(), world.ring.administration
    await replace(world.ring)
    async with another_hand(postgres_of(world)) as hand:
        await hand.execute("UPDATE secrets SET ends_at = $1", world.clock())
        async with hand.transaction():
            await hand.fetch(sql.HOLD_LEDGER)
            await hand.execute("UPDATE secrets SET ends_at = NULL")
            forgetting = asyncio.ensure_future(administration.forget_checksum_secrets())
            while not await hand.fetch(WAITING_FOR_LEDGER):
                assert not forgetting.done()
                await asyncio.sleep(0)
        assert [need.key_id for need in await forgetting] == [record.key_id]
    await world.ring.verifier.verify(key.reveal())
    await world.ring.checksum_secrets.look()
    assert len(list(world.ring.checksum_secrets)) == 2
