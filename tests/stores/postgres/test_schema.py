"""Which PostgreSQL databases are used, which are left alone, and what is said about it."""

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from mcp_keys_server import Grant, KeyRing, UnusableDatabaseError, open_key_ring
from mcp_keys_server.core.checksum_secret_store import NeedOfSecret
from mcp_keys_server.core.errors import NoDatabaseError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.opening import open_database
from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from mcp_keys_server.stores.postgres import schema as postgres_schema
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connections import open_postgres
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql.migration_scripts import migrations
from mcp_keys_server.stores.whole.moving import schema_version
from tests.databases import PostgresDatabase, needs_postgres, postgres_url
from tests.replacing import replace
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
def kind() -> str:
    return "postgres"


async def refused(database: str, sentence: str, **options: Any) -> None:  # noqa: ANN401 - of the function below
    with pytest.raises(UnusableDatabaseError, match=sentence):
        async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST, **options):
            raise AssertionError


async def test_a_database_is_opened_again_with_all_that_is_in_it(database: PostgresDatabase) -> None:
    async with open_world(database) as world:
        record, key = await world.key()
    async with open_world(database) as again:
        assert (await again.ring.verifier.verify(key.reveal())).key_id == record.key_id


async def test_many_who_start_at_once_share_one_database(database: PostgresDatabase) -> None:
    async def start() -> bytes:
        async with open_database(str(database)) as opened:
            return opened.checksum_secrets.found[0]

    assert len(set(await asyncio.gather(*(start() for _ in range(8))))) == 1


async def test_tables_are_made_only_where_they_may_be(database: PostgresDatabase) -> None:
    with pytest.raises(NoDatabaseError, match=r"has no tables of mcp-keys-server; 'serve' and 'users add' make them"):
        async with open_key_ring(str(database), create=False, bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    assert not database.is_there()


async def test_an_empty_schema_that_was_made_before_is_used(database: PostgresDatabase) -> None:
    database.sql(f"CREATE SCHEMA {database.schema}")
    async with open_world(database) as world:
        await world.key()


@pytest.mark.parametrize("table", ["meta (name text, value bytea)", "meta (x int)", "recipes (name text)"])
async def test_a_schema_of_another_program_is_left_alone(database: PostgresDatabase, table: str) -> None:
    database.sql(f"CREATE SCHEMA {database.schema}", f"CREATE TABLE {database.schema}.{table}")
    await refused(str(database), "is another program's; name another one with .schema=NAME")
    tables = f"SELECT count(*) FROM pg_tables WHERE schemaname = '{database.schema}'"
    assert database.sql(tables) == [(1,)]


async def test_a_database_without_its_version_or_its_secret_is_left_alone(world: World) -> None:
    for damage in ("UPDATE meta SET value = '\\x00'", "DELETE FROM meta"):
        world.sql(f"{damage} WHERE name = 'checksum_secret'")
        await refused(world.address, "lost its checksum secret; restore a backup")
    world.sql("DELETE FROM meta")
    await refused(world.address, "is another program's")


async def test_a_newer_schema_is_left_alone(world: World) -> None:
    world.sql("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    await refused(world.address, r"made by a newer mcp-keys-server \(schema 99.*update this one")


async def test_an_older_schema_is_brought_up_to_date_whole_or_not_at_all(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(database) as world:
        record, _ = await world.key()
    version = len(migrations("postgres")) + 1
    script = "CREATE TABLE later (x int); CREATE TABLE latest (x int);"
    for now, works in ((f"{script} not SQL", False), (script, True), (script, True)):
        monkeypatch.setattr(postgres_schema, "migrations", lambda _, now=now: [*migrations("postgres"), (version, now)])
        if not works:
            await refused(str(database), "syntax error")
            assert database.sql("SELECT to_regclass('later')") == [(None,)]
            continue
        async with open_world(database) as world:
            assert (await world.ring.administration.list_keys())[0].key_id == record.key_id
    assert database.sql("SELECT count(*) FROM latest") == [(0,)]
    assert database.sql("SELECT value FROM meta WHERE name = 'schema_version'") == [(str(version).encode(),)]


async def test_what_may_forget_what_it_has_confirmed_is_refused(database: PostgresDatabase) -> None:
    await refused(f"{database}&synchronous_commit=off", "come back to life; run: ALTER ROLE .* SET synchronous_commit")
    assert not database.is_there()
    for kept in ("local", "remote_apply"):
        async with open_key_ring(f"{database}&synchronous_commit={kept}", bcrypt_cost=CHEAPEST_COST) as ring:
            await ring.administration.add_user(f"user-{kept.partition('_')[0]}")


async def test_a_server_that_is_too_old_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_schema, "OLDEST_SERVER", 990_000)
    await refused(world.address, "is PostgreSQL [0-9]+; 13 or later is needed")
    with pytest.raises(UnusableDatabaseError, match="is PostgreSQL [0-9]+; 13 or later is needed"):
        await schema_version(PostgresUrl(world.address))


async def test_whoever_brings_the_schema_up_to_date_is_waited_for_longer_than_for_a_statement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_connecting._SETTINGS, "lock_timeout", "1ms")
    waiting = (
        "SELECT 1 FROM pg_stat_activity "
        "WHERE query LIKE '%pg_advisory_xact_lock%' AND wait_event_type = 'Lock' "
        "AND clock_timestamp() > query_start + interval '100 ms'"
    )
    other = await asyncpg.connect(postgres_url())
    try:
        async with asyncio.timeout(60), other.transaction():
            await other.execute(sql.HOLD_SCHEMA, PostgresUrl(world.address).schema)
            opening = asyncio.create_task(open_and_close(world.address))
            while not await other.fetch(waiting):
                assert not opening.done()
                await other.execute("SELECT pg_stat_clear_snapshot()")  # or else a transaction sees the same for ever
    finally:
        await other.close()
    await opening


async def open_and_close(database: str) -> None:
    async with open_database(database):
        pass


@pytest.fixture
def elsewhere(database: PostgresDatabase) -> Iterator[str]:
    """Another database of the same server, whose letters are not of UTF-8."""
    name = f"{database.schema}_c"
    database.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    yield f"{postgres_url().rpartition('/')[0]}/{name}"
    database.sql(f"DROP DATABASE {name}")


async def test_a_database_that_cannot_hold_all_letters_is_refused(elsewhere: str) -> None:
    await refused(elsewhere, "encoded in SQL_ASCII; make one with: createdb --encoding UTF8")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_machine_whose_clock_is_wrong_is_told_so(database: PostgresDatabase, hours: int) -> None:
    def wrong() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    with pytest.raises(UnusableDatabaseError, match=r"clock is 3[56]\d\d seconds away from that of the database.*NTP"):
        async with open_postgres(database.setting, create=True, most=1, clock=wrong):
            raise AssertionError


@pytest.fixture
def role(database: PostgresDatabase) -> Iterator[str]:
    name = f"role_{secrets.token_hex(4)}"
    database.sql(f"CREATE ROLE {name} LOGIN")
    yield name
    database.sql(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def as_role(database: PostgresDatabase, role: str) -> str:
    scheme, _, rest = str(database).partition("://")
    return f"{scheme}://{role}@{rest.rpartition('@')[2]}"


async def test_a_database_of_the_first_schema_keeps_its_keys_and_who_may_read_them(
    database: PostgresDatabase, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(postgres_schema, "migrations", lambda _: migrations("postgres")[:1])
        async with open_database(str(database)):
            pass
    database.sql(
        "INSERT INTO users (user_id, created_at) VALUES ('ada', now())",
        "INSERT INTO keys (key_id, user_id, name, scopes, created_at) VALUES ('key_1', 'ada', 'A', 'keys:read', now())",
        "INSERT INTO secrets (prefix, key_id, key_hash, created_at) VALUES ('here', 'key_1', '$2b$12$...', now()), "
        "('imported', 'key_1', 'imported:$2b$12$...', now()), ('hashed', 'key_1', 'sha256:00', now())",
        f"GRANT SELECT ON key_records TO {role}",
    )
    async with open_world(database) as world:
        (record,) = await world.ring.administration.list_keys(include_ended=True)
        assert record.grant == Grant(frozenset({"keys:read"}), None, None, None)
        await replace(world.ring)
        assert await world.ring.administration.forget_checksum_secrets() == [NeedOfSecret("key_1", None)]
        database.sql("DELETE FROM secrets WHERE prefix = 'here'")
        assert await world.ring.administration.forget_checksum_secrets() == []
    assert database.sql(f"SELECT has_table_privilege('{role}', 'key_records', 'SELECT')") == [(True,)]


async def test_a_role_that_may_not_make_the_tables_is_told_what_to_do(database: PostgresDatabase, role: str) -> None:
    database.sql(f"CREATE SCHEMA {database.schema}", f"GRANT USAGE ON SCHEMA {database.schema} TO {role}")
    await refused(as_role(database, role), "permission denied.*database migrate")


async def test_a_role_that_may_not_use_the_tables_is_told_what_to_do(world: World, role: str) -> None:
    assert isinstance(world.database, PostgresDatabase)
    world.sql(f"GRANT USAGE ON SCHEMA {world.database.schema} TO {role}")
    await refused(as_role(world.database, role), "permission denied for table meta; as the owner .*--grant-to ROLE")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://postgres@127.0.0.1:9/postgres", "cannot be used: .*see that it runs and that the URL is right"),
        ("postgresql://postgres@host.invalid/postgres", "cannot be used: .*see that it runs"),
        ("postgresql://postgres@127.0.0.1:99999/postgres", "cannot be used: .*see that it runs"),
        ("postgresql://postgres@127.0.0.1/postgres?sslmode=perhaps", "cannot be used: .*see that it runs"),
    ],
)
async def test_a_server_that_is_not_there_is_a_sentence(url: str, sentence: str) -> None:
    await refused(url, sentence)


async def test_a_database_that_is_not_there_is_a_sentence() -> None:
    missing = f"{postgres_url().rpartition('/')[0]}/nobody_made_{secrets.token_hex(4)}"
    await refused(missing, "does not exist; make it with createdb")


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE keys SET revoked_at = NULL", "a revocation is never undone"),
        ("UPDATE keys SET revoked_at = revoked_at + interval '1 day'", "a revocation is never undone"),
        ("UPDATE events SET detail = 'x'", "an event is never changed"),
        ("DELETE FROM events", "an event is never removed"),
        ("TRUNCATE events", "an event is never removed"),
    ],
)
async def test_the_database_itself_refuses_to_undo_what_is_final(world: World, statement: str, sentence: str) -> None:
    record, _ = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    with pytest.raises(Exception, match=sentence):
        world.sql(statement)
    world.sql("UPDATE keys SET use_count = 7")


async def test_a_claim_that_is_spent_stays_as_it_is(world: World) -> None:
    key = await world.ring.manager.create_unclaimed_key(await world.principal(), name="x", requested=NOTHING_SPECIAL)
    await world.ring.manager.claim_key(await world.principal(), key_id=key.key_id, claimed_from="192.0.2.7")
    for change in ("claimed_at = now()", "claimed_at = NULL", "claimed_from = '198.51.100.1'", "lapses_at = now()"):
        with pytest.raises(Exception, match="a claim is spent once"):
            world.sql(f"UPDATE claims SET {change}")


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'key_created'",
        "at = at + interval '1 microsecond'",
        "user_id = 'eve'",
        "key_id = 'key_0'",
        "by_means = 'key'",
        "by_key_id = 'key_0'",
        "client = '192.0.2.7'",
        "detail = 'x'",
        "digest = sha256('x')",
        "number = 99",
    ],
)
async def test_whatever_is_changed_in_the_ledger_by_other_hands_is_noticed(world: World, change: str) -> None:
    from mcp_keys_server.core.ledger import BrokenLedgerError

    await world.ring.administration.add_user("eve")
    await world.ring.administration.verify_events()
    world.database.tamper(f"UPDATE events SET {change} WHERE number = 2")
    with pytest.raises(BrokenLedgerError, match="entry 2"):
        await world.ring.administration.verify_events()


async def test_a_ring_says_nothing_of_a_password(database: PostgresDatabase) -> None:
    async def shown(ring: KeyRing) -> str:
        return repr(ring) + repr(vars(ring.store))

    async with open_key_ring(str(database).replace("@", ":hunter2@"), bcrypt_cost=CHEAPEST_COST) as ring:
        assert "hunter2" not in await shown(ring)
