"""Users and keys that are taken over from another system, on the command line; see tests/core for each odd row."""

import asyncio
import re
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from mcp_keys_server.cli import imports
from tests.cli.runs import Done, Run
from tests.databases import Database, needs_postgres, postgres_url
from tests.imported_keys import fleetmind_key, sha256_of
from tests.running_server import PROGRAM, environment, running_server
from tests.sources import FLEETMIND_TABLE, FleetmindFile, Hub, fleetmind_columns, fleetmind_user_id


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "mcphub.db")


@pytest.fixture
def fleetmind(tmp_path: Path) -> FleetmindFile:
    return FleetmindFile(tmp_path / "fleetmind.db")


@pytest.fixture
def postgres() -> Iterator["FleetmindServer"]:
    server = FleetmindServer()
    try:
        yield server
    finally:
        server.drop()


class FleetmindServer:
    """A database of its own in the PostgreSQL server."""

    def __init__(self) -> None:
        self.name = f"import_{secrets.token_hex(8)}"
        self.url = urlsplit(postgres_url())._replace(path=f"/{self.name}").geturl()
        self._run(postgres_url(), f"CREATE DATABASE {self.name}")
        self.run(FLEETMIND_TABLE)

    def add_key(self, email: str, **columns: Any) -> str:  # noqa: ANN401 - strange ones, too
        key = fleetmind_key()
        row = fleetmind_columns(key, email)
        marks = ", ".join(f"${number}" for number in range(1, 1 + len(row)))
        self.run(f"INSERT INTO api_keys ({', '.join(row)}) VALUES ({marks})", *row.values())
        for column, value in columns.items():
            self.run(f"UPDATE api_keys SET {column} = {value} WHERE api_key_hash = $1", row["api_key_hash"])
        return key

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._run(self.url, statement, *values)

    def drop(self) -> None:
        self._run(postgres_url(), f"DROP DATABASE {self.name} WITH (FORCE)")

    def _run(self, url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        import asyncpg

        async def run() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(url)
            try:
                return [tuple(record) for record in await connection.fetch(statement, *values)]
            finally:
                await connection.close()

        return asyncio.run(run())


def imported(run: Run, *arguments: str) -> dict[str, Any]:
    done = run("import", *arguments, "--json")
    report: dict[str, Any] = done.json
    assert report["rows_read"] == report["taken"] + report["already_there"] + report["skipped"]
    assert report["skipped"] == sum(row["kind"] == "skipped" for row in report["rows"])
    assert not any(len(word) > 20 and word in done.out for word in ("$2b$", "sha256:"))
    return report


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    """Read, taken, already there, skipped, users added."""
    return tuple(report[name] for name in imports.COUNTS)


def verified(run: Run, key: str) -> dict[str, Any]:
    principal: dict[str, Any] = run("keys", "verify", "--json", stdin=key).json
    return principal


def refused(run: Run, key: str) -> str:
    done = run("keys", "verify", stdin=key)
    assert done.code == 1
    return done.err


@pytest.mark.usefixtures("ada")
def test_a_dry_run_says_all_and_writes_nothing(run: Run, hub: Hub, fleetmind: FleetmindFile) -> None:
    hub_key, fm_key = hub.add_key(), fleetmind.add_key("ada@fleet.example")
    before = (hub.path.read_bytes(), fleetmind.path.read_bytes(), run("events", "head").out)
    done = run("import", "hub", str(hub.path))
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()[:5]] == [
        ["rows_read", "1"],
        ["taken", "1"],
        ["already_there", "0"],
        ["skipped", "0"],
        ["users_added", "1"],
    ]
    assert "Nothing was written. With --apply, this is done." in done.out
    assert counts(imported(run, "fleetmind", str(fleetmind.path))) == (1, 1, 0, 0, 1)
    assert before == (hub.path.read_bytes(), fleetmind.path.read_bytes(), run("events", "head").out)
    assert [user["user_id"] for user in run("users", "list", "--json").json] == ["ada"]
    for key in (hub_key, fm_key):
        assert "nobody's" in refused(run, key)


def test_keys_of_a_hub_work_unchanged(run: Run, hub: Hub) -> None:
    user = hub.add_user("Grace@Example.com", "Grace H.")
    keys = [hub.add_key(user_id=user, name=name) for name in ("Claude Desktop", "Cursor")]
    expired = hub.add_key(user_id=user, expires_at="2026-01-03T00:00:00+00:00")
    other = hub.add_key(expires_at="2099-01-03T00:00:00+00:00", last_used="2026-03-04T05:06:07+00:00", use_count=42)
    assert counts(imported(run, "hub", str(hub.path), "--apply")) == (4, 4, 0, 0, 2)
    for key in keys:
        principal = verified(run, key)
        assert (principal["user_id"], principal["expires_at"]) == (user, None)
        assert principal["scopes"] == ["keys:read", "keys:write", "read", "write"]
    assert "expired" in refused(run, expired)
    (used,) = (key for key in run("keys", "list", "--json").json if key["prefix"] == other[4:12])
    assert (used["use_count"], used["last_used_at"]) == (42, "2026-03-04T05:06:07Z")
    assert (used["name"], used["expires_at"]) == ("Claude Desktop", "2099-01-03T00:00:00Z")
    assert verified(run, other)["expires_at"] == "2099-01-03T00:00:00Z"
    (grace,) = (it for it in run("users", "list", "--json").json if it["user_id"] == user)
    assert (grace["email"], grace["name"]) == ("grace@example.com", "Grace H.")
    kinds = [event["kind"] for event in run("events", "list", "--user", "grace@example.com", "--json").json]
    assert kinds == ["key_imported"] * 3 + ["user_imported"]
    run("events", "verify")


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        ([], ["keys:read", "keys:write", "read", "write"]),
        (["--add-scopes", ""], ["read", "write"]),
        (["--add-scopes", "keys:read x"], ["keys:read", "read", "write", "x"]),
        (["--scopes", "orders:read"], ["orders:read"]),
        (["--scopes", ""], []),
    ],
)
def test_the_operator_says_what_imported_keys_may(run: Run, hub: Hub, options: list[str], scopes: list[str]) -> None:
    key = hub.add_key()
    imported(run, "hub", str(hub.path), "--apply", *options)
    assert verified(run, key)["scopes"] == scopes


@pytest.mark.parametrize("options", [["--scopes", "A"], ["--add-scopes", "é"], ["--scopes", "a", "--add-scopes", "b"]])
def test_scopes_that_are_none_are_misuse(run: Run, hub: Hub, options: list[str]) -> None:
    done = run("import", "hub", str(hub.path), *options)
    assert (done.code, done.out) == (2, "")
    assert "scopes" in done.err


def test_importing_again_takes_what_is_new_and_brings_nothing_back(run: Run, hub: Hub) -> None:
    first, second = hub.add_key(), hub.add_key()
    assert counts(imported(run, "hub", str(hub.path), "--apply")) == (2, 2, 0, 0, 2)
    revoked = verified(run, first)["key_id"]
    assert run("keys", "revoke", revoked, "--reason", "stolen").code == 0
    head = run("events", "head").out
    assert counts(imported(run, "hub", str(hub.path), "--apply")) == (2, 0, 2, 0, 0)
    assert run("events", "head").out == head
    assert "it was revoked" in refused(run, first)
    owner = verified(run, second)["user_id"]
    third = hub.add_key(user_id=owner)
    assert counts(imported(run, "hub", str(hub.path))) == (3, 1, 2, 0, 0)
    assert counts(imported(run, "hub", str(hub.path), "--apply")) == (3, 1, 2, 0, 0)
    assert verified(run, third)["user_id"] == owner


def test_users_of_fleetmind_come_with_their_keys_and_those_locked_out_get_a_new_one(
    run: Run, fleetmind: FleetmindFile, database: Database
) -> None:
    good = fleetmind.add_key("Ada@fleet.example", name="Ada L.", last_used_at="2026-05-06 07:08:09")
    locked_out = fleetmind.add_key("bob@fleet.example", is_active=False)
    report = imported(run, "fleetmind", str(fleetmind.path), "--apply")
    assert counts(report) == (2, 2, 0, 0, 2)
    assert report["notes"] == ["There are times without a zone; they were taken as UTC."]
    scopes = {"orders:read", "orders:write", "drivers:read", "drivers:write", "assignments:manage"}
    principal = verified(run, good)
    assert principal["user_id"] == fleetmind_user_id("Ada@fleet.example")
    assert set(principal["scopes"]) == scopes | {"keys:read", "keys:write"}
    assert "it was revoked" in refused(run, locked_out)
    (ended,) = run("keys", "list", "--all", "--user", "bob@fleet.example", "--json").json
    assert (ended["status"], ended["revoked_reason"]) == ("revoked", "revoked in fleetmind")
    kinds = [event["kind"] for event in run("events", "list", "--user", "bob@fleet.example", "--json").json]
    assert kinds == ["key_revoked", "key_imported", "user_imported"]

    invitation = run("users", "invite", "BOB@fleet.example", "--json").json
    assert invitation["user_id"] == fleetmind_user_id("bob@fleet.example")
    with running_server(database) as server, httpx2.Client(base_url=server.base_url) as browser:
        form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        page = browser.post(urlsplit(invitation["url"]).path, content=b"", headers=form).text
        new_key = page.partition('<pre id="the-key" tabindex="0">')[2].partition("<")[0]
        for user, key, status in (
            (fleetmind_user_id("Ada@fleet.example"), good, 200),
            (invitation["user_id"], new_key, 200),
            (invitation["user_id"], locked_out, 401),
        ):
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
            accept = {"accept": "application/json", "authorization": f"Bearer {key}"}
            answer = httpx2.post(server.endpoint(user), json=body, headers=accept)
            assert answer.status_code == status, answer.text
        assert server.stop() == 0
        log = server.log.read_text()
    assert good[11:] not in log
    assert locked_out[11:] not in log


def test_nobody_is_invited_by_an_e_mail_that_is_nobodys(run: Run) -> None:
    assert run("users", "add", "ada").code == 0
    done = run("users", "invite", "eve@example.com")
    assert (done.code, "'mcp-keys-server users list'" in done.err) == (1, True)


@needs_postgres
def test_keys_of_a_fleetmind_in_postgresql_work_unchanged(run: Run, postgres: FleetmindServer) -> None:
    good = postgres.add_key("ada@fleet.example", last_used_at="'2026-05-06 07:08:09.12'")
    locked_out = postgres.add_key("bob@fleet.example", is_active="false")
    nobody = postgres.add_key("carl@fleet.example", is_active="NULL", created_at="'infinity'")
    ancient = postgres.add_key("dora@fleet.example", created_at="'0044-03-15 BC'", last_used_at="'294276-01-01'")
    second = postgres.add_key("ADA@fleet.example", created_at="NULL")
    before = postgres.run("SELECT * FROM api_keys WHERE created_at < '9999-01-01' AND created_at > '1000-01-01'")
    assert counts(imported(run, "fleetmind", postgres.url, "--apply")) == (5, 5, 0, 0, 5)
    after = postgres.run("SELECT * FROM api_keys WHERE created_at < '9999-01-01' AND created_at > '1000-01-01'")
    assert before == after
    owners = {verified(run, key)["user_id"] for key in (good, ancient, second)}
    assert owners == {fleetmind_user_id(f"{name}@fleet.example") for name in ("ada", "dora", "ADA")}
    for key in (locked_out, nobody):
        assert "it was revoked" in refused(run, key)
    (listed,) = run("keys", "list", "--user", "ada@fleet.example", "--json").json
    assert listed["last_used_at"] >= "2026-05-06T07:08:09"
    report = imported(run, "fleetmind", postgres.url.replace("postgresql:", "postgres:"), "--apply")
    assert counts(report) == (5, 0, 5, 0, 0)


@needs_postgres
def test_a_postgresql_that_cannot_be_read_is_a_sentence_without_its_url(run: Run, postgres: FleetmindServer) -> None:
    run("users", "add", "ada")
    role = f"reader_{secrets.token_hex(4)}"
    postgres.run(f"CREATE ROLE {role} LOGIN")
    plain = urlsplit(postgres.url)
    as_reader = plain._replace(netloc=f"{role}:hush@{plain.hostname}:{plain.port or 5432}").geturl()
    nothing = plain._replace(path="/no_such_database_here").geturl()
    nobody = plain._replace(netloc=f"no_such_role:hush@{plain.hostname}:{plain.port or 5432}").geturl()
    try:
        for url, sentence in (
            (as_reader, "may not read the table api_keys; grant them SELECT"),
            (nothing, "has no database of this name"),
            (nobody, "refuses this user or password"),
            ("postgresql://hush@127.0.0.1:1/x", "does not answer under this address"),
            ("postgresql://127.0.0.1:hush/x", "is none of PostgreSQL"),
        ):
            done = run("import", "fleetmind", url)
            assert (done.code, done.out) == (1, "")
            assert sentence in done.err
            assert "hush" not in done.err
        postgres.run("ALTER TABLE api_keys ALTER COLUMN user_id DROP NOT NULL")
        postgres.run("ALTER TABLE api_keys DROP COLUMN email")
        assert "without email" in run("import", "fleetmind", postgres.url).err
        postgres.run("ALTER TABLE api_keys RENAME TO keys_of_another_program")
        assert ": this PostgreSQL database has no table api_keys" in run("import", "fleetmind", postgres.url).err
        postgres.run(
            "CREATE VIEW api_keys AS SELECT 1 / (count(*) * 0) AS key_id, '' AS user_id, '' AS email, '' AS name, "
            "'' AS api_key_hash, '' AS api_key_prefix, true AS is_active FROM keys_of_another_program"
        )
        assert "cannot be read: DivisionByZeroError" in run("import", "fleetmind", postgres.url).err
    finally:
        postgres.run(f"DROP ROLE {role}")


def test_without_the_driver_it_is_said_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "asyncpg", None)
    done = run("import", "fleetmind", "postgresql://localhost/x")
    assert (done.code, done.out) == (1, "")
    assert f"run: {sys.executable} -m pip install 'mcp-keys-server[postgres]'" in done.err


@pytest.mark.usefixtures("ada")
def test_sources_that_are_none_are_a_sentence_each(
    run: Run, tmp_path: Path, hub: Hub, fleetmind: FleetmindFile
) -> None:
    text, empty, odd = tmp_path / "text.db", tmp_path / "empty.db", tmp_path / "odd.db"
    text.write_text("a diary " * 1000)
    empty.touch()
    with closing(sqlite3.connect(odd)) as connection:
        connection.execute("CREATE TABLE user_api_keys (id TEXT, user_id TEXT, name TEXT)")
    for arguments, sentence in (
        (["hub", str(tmp_path / "nothing.db")], "does not exist"),
        (["hub", str(tmp_path)], "is a folder"),
        (["hub", str(text)], "is damaged or no SQLite database"),
        (["hub", str(empty)], "has no table user_api_keys"),
        (["hub", str(odd)], "without created_at, expires_at, key_hash, key_prefix, scopes"),
        (["hub", str(fleetmind.path)], "has no table user_api_keys"),
        (["fleetmind", str(hub.path)], "has no table api_keys"),
        (["hub", str(text / "keys.db")], "cannot be read: Not a directory"),
        (["fleetmind", "a\0b"], "cannot be one"),
        (["fleetmind", str(tmp_path / "nothing.db")], "does not exist"),
    ):
        done = run("import", *arguments)
        assert (done.code, done.out) == (1, ""), arguments
        assert sentence in done.err


@pytest.mark.parametrize("system", ["hub", "fleetmind"])
def test_a_url_of_another_kind_is_misuse_and_not_repeated(run: Run, system: str) -> None:
    for url in ("postgresql+psycopg2://ada:hush@localhost/x", "sqlite:///hush.db", "postgres:/ada:hush@h/x"):
        done = run("import", system, url)
        assert (done.code, done.out) == (2, "")
        assert "SOURCE is the path of an SQLite file" in done.err
        assert "hush" not in done.err


def test_a_source_that_another_program_has_locked_is_a_sentence(run: Run, hub: Hub) -> None:
    with closing(sqlite3.connect(hub.path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        done = run("import", "hub", str(hub.path))
    assert (done.code, done.out) == (1, "")
    assert "database is locked; stop the program that uses it, or name a copy" in done.err


def test_a_database_of_ours_that_is_not_there_is_made_by_an_import_alone(
    run: Run, hub: Hub, database: Database
) -> None:
    done = run("import", "hub", str(hub.path))
    assert (done.code, bool(re.search("does not exist|has no tables", done.err)), database.is_there()) == (
        1,
        True,
        False,
    )
    assert run("import", "hub", str(hub.path), "--apply").code == 0
    assert database.is_there()


@pytest.mark.usefixtures("ada")
def test_what_is_strange_is_listed_for_people_and_programs(run: Run, hub: Hub) -> None:
    hub.add_key(id="odd-1", key_hash="$2b$12$hush")
    hub.add_key(id="odd-2", name="x" * 100)
    hub.add_key(id="odd-3", created_at="2026-01-02T03:04:05")
    report = imported(run, "hub", str(hub.path))
    assert report["rows"] == [
        {"source_id": "odd-1", "kind": "skipped", "reason": "key_hash is no bcrypt string"},
        {"source_id": "odd-2", "kind": "noted", "reason": "name is no name here, and was shortened"},
    ]
    assert report["notes"][0] == "There are times without a zone; they were taken as UTC."
    table = run("import", "hub", str(hub.path)).out
    assert "odd-1      skipped  key_hash is no bcrypt string" in table
    assert "hush" not in table


def test_a_large_source_shows_on_a_terminal_how_far_it_is(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(imports, "MANY_ROWS", 1)
    hub.add_key()
    assert "Keys" not in run("import", "hub", str(hub.path), "--apply").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "Keys" in run("import", "hub", str(hub.path), "--apply").err


def test_an_import_that_was_killed_half_way_is_finished_by_the_next(run: Run, hub: Hub, database: Database) -> None:
    keys = [hub.add_key(last_used="2026-03-04T05:06:07+00:00", use_count=7) for _ in range(150)]
    assert run("users", "add", "ada").code == 0
    command = [*PROGRAM, "import", "hub", str(hub.path), "--apply", "--database", str(database)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout
    while database.sql("SELECT count(*) FROM keys")[0][0] < 30:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()
    ((users, halves),) = database.sql("SELECT (SELECT count(*) FROM users) - 1, (SELECT count(*) FROM keys)")
    assert 30 <= halves < 150
    report = imported(run, "hub", str(hub.path), "--apply")
    assert counts(report) == (150, 150 - halves, halves, 0, 150 - users)
    assert len({verified(run, key)["key_id"] for key in keys[:5] + keys[25:40] + keys[-5:]}) == 25
    rows = database.sql("SELECT use_count, last_used_at IS NULL FROM keys")
    assert {(count in (7, 8), unknown) for count, unknown in rows} == {(True, 0)}
    assert run("events", "verify").code == 0


def test_no_secret_is_printed_or_written_down(run: Run, hub: Hub, fleetmind: FleetmindFile, database: Database) -> None:
    keys = [hub.add_key(), fleetmind.add_key("ada@fleet.example")]
    printed: list[Done] = [run("import", "hub", str(hub.path), "--apply"), run("events", "list", "--json")]
    printed += [run("import", "fleetmind", str(fleetmind.path), "--apply"), run("keys", "list", "--json")]
    everything = "".join(done.out + done.err for done in printed)
    for key in keys:
        assert key[12:] not in everything
        assert sha256_of(key)[:20] not in everything
    assert "$2b$" not in everything
    stored = database.stored_bytes()
    assert not any(key[12:].encode() in stored for key in keys)
