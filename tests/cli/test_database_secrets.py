"""The checksum secret replaced and forgotten by the operator."""

import json

import pytest

from tests.cli.runs import Run, created
from tests.databases import Database

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
    needing = run(*FORGET)
    ids = sorted([kept["key_id"], revoked["key_id"]])
    assert (needing.code, needing.err) == (1, "")
    assert needing.out == "\n".join([*ids, "", "These keys need a secret that was replaced; rotate or revoke them.\n"])
    needing = run(*FORGET, "--json")
    assert (needing.code, json.loads(needing.out)) == (1, {"needed_by": ids})
    run("keys", "revoke", revoked["key_id"], "--yes")
    rotated = run("keys", "rotate", kept["key_id"], "--overlap-hours", "0", "--json").json
    done = run(*FORGET)
    assert (done.code, done.out, done.err) == (0, "Only the newest checksum secret is left.\n", "")
    assert run(*FORGET, "--json").json == {"needed_by": []}
    for key in (rotated, new):
        assert run("keys", "verify", stdin=key["key"]).code == 0
    assert run("keys", "verify", stdin=kept["key"]).code == 1
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
    assert f"the checksum secret of {key_id} is not there, so that it opens nothing; rotate it" in done.out
