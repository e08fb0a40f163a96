"""The checksum secret replaced and forgotten by the operator."""

import json
import signal
import subprocess

import pytest

from tests.cli.runs import Run, created
from tests.databases import Database, SqliteDatabase
from tests.running_server import PROGRAM, environment

REPLACE, FORGET = ("database", "replace-checksum-secret"), ("database", "forget-checksum-secrets")


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no servers here that have to learn of anything."""
    monkeypatch.setattr("mcp_keys_server.core.administration.SECONDS_TO_BE_KNOWN", 0)


@pytest.mark.usefixtures("ada", "_no_wait")
def test_a_secret_is_replaced_and_forgotten_once_its_keys_are_rotated_or_revoked(run: Run) -> None:
    kept, revoked = created(run), created(run)
    done = run(*REPLACE)
    assert (done.code, done.err) == (0, "Waiting for 0 seconds, until every server knows the new secret.\n")
    assert done.out.startswith("New keys get their checksum from a new secret now.")
    assert FORGET[1] in done.out
    new = created(run)
    for key in (kept, revoked, new):
        assert run("keys", "verify", stdin=key["key"]).code == 0
    ids = sorted([kept["key_id"], revoked["key_id"]])
    needing = run(*FORGET)
    assert (needing.code, needing.err) == (1, "")
    heading, *rows = needing.out.splitlines()
    assert heading.split() == ["KEY_ID", "UNTIL"]
    assert [row.split() for row in rows[:2]] == [[key_id, "-"] for key_id in ids]
    assert "Rotate or revoke those without a time" in needing.out
    needing = run(*FORGET, "--json")
    assert (needing.code, json.loads(needing.out)) == (1, {"needed_by": [{"key_id": it, "until": None} for it in ids]})
    run("keys", "revoke", revoked["key_id"], "--yes")
    rotated = run("keys", "rotate", kept["key_id"], "--json").json
    (needing,) = json.loads(run(*FORGET, "--json").out)["needed_by"]
    assert (needing["key_id"], needing["until"][:10]) == (kept["key_id"], rotated["older_secret_ends_at"][:10])
    run("keys", "revoke", kept["key_id"], "--yes")
    done = run(*FORGET)
    assert (done.code, done.out, done.err) == (0, "No checksum secret that was replaced is left.\n", "")
    assert run(*FORGET, "--json").json == {"needed_by": []}
    for key in (new,):
        assert run("keys", "verify", stdin=key["key"]).code == 0
    told = [entry for entry in run("events", "list", "--json").json if "checksum" in entry["kind"]]
    assert [entry["kind"] for entry in told] == ["checksum_secrets_forgotten", "checksum_secret_replaced"]
    assert {entry["user_id"] for entry in told} == {None}
    assert run("database", "check").code == 0


@pytest.mark.usefixtures("ada", "_no_wait")
def test_there_are_no_more_than_four(run: Run) -> None:
    for _ in range(3):
        assert run(*REPLACE).code == 0
    done = run(*REPLACE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("mcp-keys-server: there are 4 checksum secrets already; rotate the keys")


@pytest.mark.parametrize("command", [REPLACE, FORGET])
def test_no_database_is_made_for_it(run: Run, database: Database, command: tuple[str, str]) -> None:
    done = run(*command)
    assert (done.code, done.out) == (1, "")
    assert "does not exist" in done.err or "has no tables" in done.err
    assert not database.is_there()


@pytest.mark.usefixtures("ada", "_no_wait")
def test_the_check_names_a_key_whose_secret_is_not_there(run: Run, database: Database) -> None:
    key_id = created(run)["key_id"]
    run(*REPLACE)
    assert run("database", "check").code == 0
    database.sql("UPDATE meta SET value = substr(value, 1, 40) WHERE name = 'checksum_secret'")
    done = run("database", "check")
    assert done.code == 1
    assert f"a checksum secret of {key_id} is not there, and what has it opens nothing; rotate it" in done.out


@pytest.mark.usefixtures("ada", "_no_wait")
def test_the_check_names_a_damaged_announcement(run: Run, database: Database) -> None:
    value = "zeroblob(40)" if isinstance(database, SqliteDatabase) else "'damaged'"
    database.sql(f"INSERT INTO meta (name, value) VALUES ('announced_checksum_secret', {value})")
    done = run("database", "check")
    assert done.code == 1
    assert "its next checksum secret is damaged; run: mcp-keys-server database replace-checksum-secret" in done.out
    assert run(*REPLACE).code == 0
    assert run("database", "check").code == 0


@pytest.mark.long
@pytest.mark.usefixtures("ada")
def test_who_breaks_it_off_is_told_that_nothing_was_replaced(database: Database) -> None:
    secret = "SELECT value FROM meta WHERE name = 'checksum_secret'"
    before = database.sql(secret)
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)  # which what is started inherits
    try:
        command = [*PROGRAM, *REPLACE, "--database", str(database)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as program:
            assert program.stderr
            assert program.stderr.readline() == "Waiting for 12 seconds, until every server knows the new secret.\n"
            program.send_signal(signal.SIGINT)
            said = program.stderr.read()
    finally:
        signal.signal(signal.SIGINT, heeded)
    assert program.returncode == 130
    assert said.startswith("The secret was not replaced; run the same command again to do so.\n")
    assert database.sql(secret) == before
