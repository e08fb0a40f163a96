"""The schema brought up to date by its owner, and another role that serves with it and can do no more."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from mcp_keys_server import InvalidApiKeyError, KeyRing, Refusal, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person
from mcp_keys_server.stores.sql.migration_scripts import migrations
from tests.cli.runs import Run
from tests.databases import Database, PostgresDatabase, SqliteDatabase, elsewhere, needs_postgres, postgres_url
from tests.running_server import running_server
from tests.sources import Hub
from tests.world import NOTHING_SPECIAL, SettableClock

postgres = pytest.mark.parametrize("kind", [pytest.param("postgres", marks=needs_postgres)], indirect=True)
sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """One that may log in, and that owns nothing."""
    name = f"serving_{secrets.token_hex(4)}"
    database.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'not needed here'")
    yield name
    database.sql(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def url_of(role: str) -> str:
    return re.sub(r"//(\w+@)?", f"//{role}@", postgres_url(), count=1)


def as_role(database: Database, role: str) -> PostgresDatabase:
    """The same database, used by this role."""
    assert isinstance(database, PostgresDatabase)
    return replace(database, url=url_of(role))


def test_a_database_is_made_only_where_it_may_be_and_once(run: Run, database: Database, kind: str) -> None:
    refused = run("database", "migrate")
    assert (refused.code, refused.out) == (1, "")
    assert not database.is_there()
    version = {"sqlite": 7, "postgres": 4}[kind]
    assert run("database", "migrate", "--create").out == f"Made, of schema {version}.\n"
    for more in ([], ["--create"]):
        assert run("database", "migrate", *more).out == f"The database is of schema {version} already.\n"
    assert run("users", "list").code == 0


@sqlite
def test_an_older_schema_is_brought_up_to_date(run: Run, database: Database) -> None:
    assert isinstance(database, SqliteDatabase)
    run("database", "migrate", "--create")
    secret = database.sql("SELECT quote(value) FROM meta")[0][0]
    database.spoil()
    number, script = migrations("sqlite")[0]
    database.sql("PRAGMA application_id = 0x4D4B5331", *script.split(";\n\n"), f"PRAGMA user_version = {number}")
    database.sql(f"INSERT INTO meta VALUES ('checksum_secret', {secret})")
    database.path.chmod(0o600)
    assert run("database", "migrate").out == "The database was of schema 1 and is of 7 now.\n"


@sqlite
def test_sqlite_has_no_roles_to_grant_to(run: Run, database: Database) -> None:
    refused = run("database", "migrate", "--create", "--grant-to", "serving")
    assert (refused.code, refused.out) == (1, "")
    assert "SQLite has no roles" in refused.err
    assert not database.is_there()


@postgres
def test_a_role_that_is_none_or_may_do_everything_is_given_nothing(run: Run, database: Database, role: str) -> None:
    owner = database.sql("SELECT current_user::text")[0][0]
    database.sql(f"GRANT {owner} TO {role}")
    powerful = "may do everything already"
    for name, sentence in (("nobody at; all", "there is no such role"), (owner, powerful), (role, powerful)):
        refused = run("database", "migrate", "--create", "--grant-to", name)
        assert (refused.code, refused.out) == (1, "")
        assert sentence in refused.err


@postgres
def test_a_role_without_grants_cannot_serve_and_is_told_what_to_do(run: Run, database: Database, role: str) -> None:
    run("database", "migrate", "--create")
    refused = run("users", "list", "--database", str(as_role(database, role)))
    assert (refused.code, refused.out) == (1, "")
    assert "run: mcp-keys-server database migrate --create --grant-to ROLE" in refused.err


@postgres
def test_a_role_that_had_more_has_only_what_serving_needs(run: Run, database: Database, role: str) -> None:
    run("database", "migrate", "--create")
    schema = database.schema if isinstance(database, PostgresDatabase) else ""
    database.sql(f"GRANT ALL ON SCHEMA {schema} TO {role}", f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")
    assert run("database", "migrate", "--grant-to", role).out.endswith(f"The role {role} can serve with it.\n")
    found = database.sql(
        "SELECT table_name::text, string_agg(privilege_type, ' ' ORDER BY privilege_type) "
        f"FROM information_schema.role_table_grants WHERE grantee = '{role}' GROUP BY table_name ORDER BY table_name"
    )
    assert found == [
        ("claims", "INSERT SELECT UPDATE"),
        ("counters", "DELETE INSERT SELECT UPDATE"),
        ("events", "INSERT SELECT"),
        ("key_records", "SELECT"),
        ("keys", "INSERT SELECT UPDATE"),
        ("meta", "INSERT SELECT UPDATE"),
        ("secrets", "DELETE INSERT SELECT UPDATE"),
        ("sessions", "DELETE INSERT SELECT UPDATE"),
        ("tool_pins", "DELETE INSERT SELECT"),
        ("users", "INSERT SELECT UPDATE"),
    ]


@postgres
def test_the_whole_life_of_keys_needs_no_more_than_is_granted(
    run: Run, database: Database, role: str, tmp_path: Path
) -> None:
    assert run("database", "migrate", "--create", "--grant-to", role).code == 0
    served = as_role(database, role)
    clock = SettableClock()

    async def life(ring: KeyRing) -> None:
        ada = Person("ada")
        await ring.administration.add_user("ada", email="ada@example.com")
        record, key = await ring.administration.create_key("ada", name="A key", requested=NOTHING_SPECIAL)
        await ring.tool_pins.pin("notes", {"read": "aa"}, clock.now)
        assert await ring.tool_pins.pinned("notes") == {"read": "aa"}
        assert await ring.tool_pins.forget("notes") == 1
        principal = await ring.verifier.verify(key.reveal())
        asked = await ring.manager.create_unclaimed_key(principal, name="x", requested=NOTHING_SPECIAL)
        await ring.manager.claim_key(principal, key_id=asked.key_id, claimed_from="192.0.2.7")
        await ring.manager.update_key(principal, key_id=record.key_id, name="Renamed")
        _, newer = await ring.manager.rotate_key(ada, key_id=record.key_id)
        clock.now += timedelta(days=2)
        await ring.manager.offer_rotation(ada, key_id=record.key_id)
        await ring.manager.claim_key(ada, key_id=record.key_id, claimed_from=None)
        clock.now += timedelta(days=2)
        again, newest = await ring.manager.rotate_key(ada, key_id=record.key_id)
        await ring.administration.take_back_secret(record.key_id, prefix=str(again.prefix))
        session = await ring.sessions.begin(principal)
        await ring.sessions.principal(session)
        await ring.sessions.end(session)
        invited = await ring.invitations.invite("ada", name="First", requested=NOTHING_SPECIAL)
        _, lasting = await ring.invitations.accept(invited.code, claimed_from=None)
        await ring.verifier.verify(lasting.reveal())
        await ring.administration.disable_user("ada")
        await ring.administration.enable_user("ada")
        await ring.manager.disable_key(ada, key_id=record.key_id)
        await ring.manager.enable_key(ada, key_id=record.key_id)
        await ring.administration.revoke_key(record.key_id, reason=None, cascade=True)
        for ended in (key, newer, newest):
            with pytest.raises(InvalidApiKeyError) as refused:
                await ring.verifier.verify(ended.reveal())
            assert refused.value.refusal in (Refusal.REVOKED, Refusal.UNMATCHED)
        await ring.administration.verify_events()

    async def live() -> None:
        async with open_key_ring(str(served), create=False, bcrypt_cost=CHEAPEST_COST, clock=clock) as ring:
            await life(ring)

    elsewhere(live)
    with running_server(served, "--first-user", "ada") as server:
        assert "There are keys already" in server.printed
    hub = Hub(tmp_path / "hub.db")
    key = hub.add_key(user_id=hub.add_user("eve@example.com"))
    taken = run("import", "hub", str(hub.path), "--apply", "--database", str(served))
    assert taken.code == 0, taken.err
    assert run("keys", "verify", "--database", str(served), stdin=key).code == 0
    for command in (["keys", "list", "--all"], ["database", "check"], ["events", "verify"]):
        assert run(*command, "--database", str(served)).code == 0
    assert database.sql("SELECT count(*) > 0 FROM keys WHERE use_count > 0") == [(True,)]


@postgres
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET detail = 'x'",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER USER",
        "DROP TRIGGER a_revocation_is_never_undone ON keys",
        "DELETE FROM keys",
        "DELETE FROM users",
        "DELETE FROM claims",
        "TRUNCATE sessions",
        "DROP TABLE sessions",
        "CREATE TABLE mine (x int)",
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
    ],
)
def test_the_role_that_serves_can_undo_nothing(run: Run, database: Database, role: str, statement: str) -> None:
    run("database", "migrate", "--create", "--grant-to", role)
    assert isinstance(database, PostgresDatabase)
    schema = database.schema

    async def attempt() -> None:
        connection = await asyncpg.connect(url_of(role), server_settings={"search_path": schema})
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        finally:
            await connection.close()

    elsewhere(attempt)
