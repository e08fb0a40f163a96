"""Keys that go on, with a new secret or narrower, on the command line."""

import contextlib
import sys
from pathlib import Path

import pytest

from mcp_keys_server.cli.program import main
from tests.cli.runs import Run, created
from tests.conftest import KEY
from tests.mints import mint_of
from tests.running_server import run as subprocess_run

pytestmark = pytest.mark.usefixtures("ada")


def is_good(run: Run, key: str) -> bool:
    return run("keys", "verify", stdin=key).code == 0


def test_a_rotated_key_is_good_with_both_secrets_for_a_while(run: Run) -> None:
    old = created(run)
    new = run("keys", "rotate", old["key_id"], "--overlap-hours", "1", "--json").json
    assert list(new) == [
        "key",
        "key_id",
        "user_id",
        "name",
        "scopes",
        "aliases",
        "tools",
        "expires_at",
        "older_secret_ends_at",
    ]
    assert (new["key_id"], new["name"]) == (old["key_id"], "Laptop")
    assert new["older_secret_ends_at"] > old["created_at"]
    assert is_good(run, old["key"])
    assert is_good(run, new["key"])
    (key,) = run("keys", "list", "--json").json
    assert (key["prefix"], key["older_secret_ends_at"]) == (new["key"][4:12], new["older_secret_ends_at"])
    again = run("keys", "rotate", old["key_id"])
    assert (again.code, again.out, "is being rotated" in again.err) == (1, "", True)


def test_without_an_overlap_the_older_secret_ends_at_once(run: Run) -> None:
    old = created(run)
    printed = run("keys", "rotate", old["key_id"], "--overlap-hours", "0").out
    (new,) = KEY.findall(printed)
    assert "older_secret_ends_at" in printed
    assert (is_good(run, old["key"]), is_good(run, new)) == (False, True)
    assert KEY.search(run("keys", "rotate", old["key_id"]).out)


@pytest.mark.parametrize("hours", ["0", "24"])
@pytest.mark.parametrize("stdout", [None, "/dev/full"], ids=["closed", "full"])
def test_a_secret_that_cannot_be_printed_is_not_good_and_the_one_before_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, stdout: str | None, hours: str
) -> None:
    old = created(run)
    with contextlib.ExitStack() as stack:
        full = None if stdout is None else stack.enter_context(Path(stdout).open("w", buffering=1))
        with monkeypatch.context() as without_output:
            without_output.setattr(sys, "stdout", full)
            assert main(["keys", "rotate", old["key_id"], "--overlap-hours", hours]) == 1
        if full is not None:
            with contextlib.suppress(OSError):
                full.close()
    assert is_good(run, old["key"])
    (key,) = run("keys", "list", "--json").json
    assert (key["prefix"], key["status"]) == (old["key"][4:12], "active")
    assert is_good(run, run("keys", "rotate", old["key_id"], "--json").json["key"])


def test_a_key_is_renamed_and_narrowed_and_never_widened(run: Run) -> None:
    key_id = created(run)["key_id"]
    narrowed = run(
        "keys",
        "update",
        key_id,
        "--name",
        "Desk",
        "--scopes",
        "keys:read",
        "--aliases",
        "notes",
        "--tools",
        "notes:read_* notes:add",
        "--json",
    ).json
    assert (narrowed["name"], narrowed["scopes"], narrowed["aliases"]) == ("Desk", ["keys:read"], ["notes"])
    assert narrowed["tools"] == ["notes:add", "notes:read_*"]
    assert narrowed["expires_at"] is None
    assert "expires_at            20" in run("keys", "update", key_id, "--expires-in-days", "3").out
    for wider in (
        ["--scopes", "keys:write"],
        ["--aliases", "notes keys"],
        ["--tools", "notes:*"],
        ["--expires-in-days", "4"],
    ):
        done = run("keys", "update", key_id, *wider)
        assert (done.code, done.out, "only ever narrowed" in done.err) == (1, "", True)


def test_what_has_ended_is_not_changed(run: Run) -> None:
    key_id = created(run)["key_id"]
    run("keys", "revoke", key_id)
    for command in (["rotate", key_id], ["update", key_id, "--name", "x"]):
        done = run("keys", *command)
        assert (done.code, done.out, "no key has this id, or it was revoked" in done.err) == (1, "", True)


MISUSED: dict[str, tuple[list[str], str]] = {
    "an overlap of words": (["rotate", "ID", "--overlap-hours", "z"], "--overlap-hours"),
    "an overlap too long": (["rotate", "ID", "--overlap-hours", "721"], "overlap_hours: "),
    "an overlap that is no number": (["rotate", "ID", "--overlap-hours", "nan"], "overlap_hours: "),
    "no key to rotate": (["rotate"], "Missing argument 'KEY_ID'"),
    "a bad key id": (["rotate", "Laptop"], "key_id: "),
    "nothing to change": (["update", "ID"], "at least one of --name"),
    "a bad name": (["update", "ID", "--name", "a\tb"], "name: "),
    "a bad scope": (["update", "ID", "--scopes", "A"], "scopes: "),
    "no tool": (["update", "ID", "--tools", ""], "tools: "),
    "no alias": (["update", "ID", "--aliases", ""], "aliases: "),
    "a bad life": (["update", "ID", "--expires-in-days", "0"], "expires_in_days: "),
}


@pytest.mark.parametrize(("arguments", "sentence"), MISUSED.values(), ids=MISUSED)
def test_what_is_misused_changes_nothing(run: Run, arguments: list[str], sentence: str) -> None:
    key_id = created(run)["key_id"]
    before = run("keys", "list", "--json").json
    done = run("keys", *(key_id if argument == "ID" else argument for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert run("keys", "list", "--json").json == before


@pytest.mark.parametrize(
    "arguments",
    [["rotate", "KEY"], ["update", "KEY", "--name", "x"], ["update", "ID", "--name", "KEY"], ["enable", "KEY"]],
    ids=" ".join,
)
def test_a_key_where_none_belongs_is_never_echoed(run: Run, arguments: list[str]) -> None:
    key = mint_of(b"secret").mint().reveal()
    given = [argument.replace("KEY", key).replace("ID", "key_0123456789abcdef") for argument in arguments]
    done = run("keys", *given)
    assert done.code == 2
    assert key[12:] not in done.out + done.err


def test_the_operators_policy_holds_on_the_command_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_KEYS_DEFAULT_EXPIRY_DAYS", "30")
    monkeypatch.setenv("MCP_KEYS_MAX_EXPIRY_DAYS", "90")
    monkeypatch.setenv("MCP_KEYS_MAX_LIVE_KEYS_PER_USER", "1")
    too_long = run("keys", "create", "--user", "ada", "--name", "x", "--expires-in-days", "91")
    assert (too_long.code, "longer than 90 days" in too_long.err) == (1, True)
    assert created(run)["expires_at"] is not None
    one_more = run("keys", "create", "--user", "ada", "--name", "x")
    assert (one_more.code, one_more.out) == (1, "")
    assert one_more.err == (
        "mcp-keys-server: there are 1 keys already, as many as one user may have; revoke one first\n"
    )


def test_a_key_whose_name_the_terminal_cannot_print_is_revoked(tmp_path: Path) -> None:
    at = ("--database", str(tmp_path / "printing" / "keys.db"))
    assert subprocess_run("users", "add", "ada", *at).returncode == 0
    done = subprocess_run("keys", "create", "--user", "ada", "--name", "鍵", *at, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("its encoding has not all of these letters\n")
    assert "Traceback" not in done.stderr
    assert "revoked" in subprocess_run("keys", "list", "--all", *at, PYTHONIOENCODING="utf-8").stdout
