"""What is said of a database that is looked into and not changed."""

from datetime import timedelta
from pathlib import Path

import pytest

from mcp_keys_server.stores.postgres import schema as postgres_schema
from tests.cli.runs import Run, created
from tests.databases import Database, SqliteDatabase

SOUND = "\nNo problems were found.\n"


def contents(database: Database) -> bytes:
    """Without what SQLite keeps beside the file for whoever reads it."""
    return database.path.read_bytes() if isinstance(database, SqliteDatabase) else database.stored_bytes()


@pytest.mark.usefixtures("ada")
def test_a_sound_database_is_described_and_not_changed(run: Run, database: Database, kind: str) -> None:
    for _ in range(2):
        created(run)
    run("keys", "disable", created(run)["key_id"], "--yes")
    run("keys", "revoke", created(run)["key_id"], "--yes")
    run("users", "invite", "bob", "--public-url", "https://keys.example.com")
    run("users", "add", "carol")
    created(run, "--user", "carol")
    run("users", "disable", "carol")
    before = contents(database)
    said = run("database", "check", "--json").json
    assert {name: said[name] for name in ("users", "keys", "live_keys", "problems")} == {
        "users": 3,
        "keys": 6,
        "live_keys": 2,
        "problems": [],
    }
    assert (said["kind"], said["where"]) == (kind, str(database.setting))
    assert said["head"] == run("events", "head").out.strip()
    assert said["events"] == int(said["head"].partition(":")[0])
    assert said["schema"] == {"sqlite": 7, "postgres": 4}[kind]
    if kind == "postgres":
        settings = "SELECT current_user::text, current_setting('synchronous_commit'), current_setting('fsync')"
        assert database.sql(settings) == [(said["role"], said["synchronous_commit"], said["fsync"])]
        assert said["server_version"]
        assert abs(said["clock_seconds_apart"]) < 30
    text = run("database", "check")
    assert text.code == 0
    assert text.out.endswith(SOUND)
    assert contents(database) == before


def test_a_database_that_is_not_there_is_not_made(run: Run, database: Database) -> None:
    done = run("database", "check")
    assert (done.code, done.out) == (1, "")
    assert "does not exist" in done.err or "has no tables" in done.err
    assert not database.is_there()


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        ("ledger", "the ledger is broken: entry 1 was changed"),
        ("guard", "its guard is missing or off: an_event_is_never_changed"),
        ("secret", "it has lost its checksum secret; restore a backup"),
        ("damaged secret", "it has lost its checksum secret; restore a backup"),
        ("mark", "is a copy of somewhere that is not finished: run"),
    ],
)
@pytest.mark.usefixtures("ada")
def test_a_problem_is_named_and_ends_it_with_1(run: Run, database: Database, problem: str, sentence: str) -> None:
    if problem == "ledger":
        database.tamper("UPDATE events SET detail = 'x' WHERE number = 1")
    elif problem == "guard":
        on = "" if isinstance(database, SqliteDatabase) else " ON events"
        database.sql(f"DROP TRIGGER an_event_is_never_changed{on}")
    elif problem == "secret":
        database.sql("DELETE FROM meta WHERE name = 'checksum_secret'")
    elif problem == "damaged secret":
        value = "zeroblob(64)" if isinstance(database, SqliteDatabase) else "'damaged'"
        database.sql(f"UPDATE meta SET value = {value} WHERE name = 'checksum_secret'")
    else:
        value = "x'736f6d657768657265'" if isinstance(database, SqliteDatabase) else "'somewhere'"
        database.sql(f"INSERT INTO meta (name, value) VALUES ('copying_from', {value})")
    done = run("database", "check")
    assert (done.code, done.err) == (1, "")
    assert sentence in done.out
    assert SOUND not in done.out
    assert "users" in done.out


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_row_that_belongs_to_none_and_a_damaged_file_are_named(run: Run, database: Database) -> None:
    assert isinstance(database, SqliteDatabase)
    created(run)
    database.sql("DROP INDEX keys_of_user", "UPDATE keys SET user_id = 'eve'")
    lost = run("database", "check")
    assert lost.code == 1
    assert "a row of keys belongs to none of users" in lost.out
    database.sql(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX secrets_of_key ON secrets (created_at)' "
        "WHERE name = 'secrets_of_key'",
    )
    damaged = run("database", "check")
    assert damaged.code == 1
    assert "the file is damaged: " in damaged.out


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE users SET created_at = 'yesterday'", "the row 'ada' of users is damaged: one of its times is none"),
        ("UPDATE keys SET created_at = 'yesterday'", "of keys is damaged: one of its times is none; restore a backup"),
        ("UPDATE secrets SET key_hash = 'x'", "of secrets is damaged: its hash is none; revoke its key"),
        ("UPDATE secrets SET key_hash = 'sha256:x'", "of secrets is damaged: its hash is none; revoke its key"),
        (
            "CREATE TRIGGER evil AFTER UPDATE ON keys BEGIN SELECT 1; END",
            "a trigger is there that is not its own: 'evil'",
        ),
        ("ALTER TABLE secrets RENAME COLUMN proof TO poof", "cannot be read or written: no such column: proof"),
        ("DROP TABLE sessions", "cannot be read or written: no such table: sessions"),
        ("DROP TABLE counters", "cannot be read or written: no such table: counters"),
        ("PRAGMA user_version = 0", "has lost the number of its schema; restore a backup"),
    ],
)
def test_what_servers_could_not_work_with_is_named(run: Run, database: Database, damage: str, sentence: str) -> None:
    created(run)
    database.sql(damage)
    done = run("database", "check")
    assert done.code == 1
    assert sentence in done.out + done.err
    assert SOUND not in done.out


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_the_guard_against_emptying_the_ledger_is_missed_too(run: Run, database: Database) -> None:
    database.sql("DROP TRIGGER no_event_is_removed ON events")
    done = run("database", "check")
    assert done.code == 1
    assert "its guard is missing or off: no_event_is_removed" in done.out


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_command_that_meets_a_damaged_row_says_so(run: Run, database: Database) -> None:
    created(run)
    database.sql("UPDATE keys SET created_at = 'yesterday'")
    done = run("keys", "list")
    assert (done.code, done.out) == (1, "")
    assert "a row of the SQLite database is damaged: " in done.err
    assert "'mcp-keys-server database check' says which" in done.err


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_an_older_schema_is_said_and_not_changed(run: Run, database: Database) -> None:
    database.sql("PRAGMA user_version = 2")
    done = run("database", "check", "--json")
    assert done.code == 1
    assert "it is of schema 2 and not of 7 yet: run 'mcp-keys-server database migrate'" in done.out
    assert '"users"' not in done.out
    assert database.sql("PRAGMA user_version") == [(2,)]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_what_is_no_database_is_a_sentence(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "diary"
    other.write_text("Dear diary, today I wrote no database. " * 100)
    other.chmod(0o600)
    done = run("database", "check", "--database", str(other))
    assert (done.code, done.out) == (1, "")
    assert "is damaged or no database at all" in done.err


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_a_clock_that_is_wrong_is_a_problem(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_schema, "MOST_SKEW", timedelta(seconds=-1))
    done = run("database", "check")
    assert done.code == 1
    assert "seconds away from that of the database" in done.out
