"""The command line, run in this process; see test_serve and test_stdio for what serves."""

import contextlib
import re
import sys
from pathlib import Path

import pytest

from mcp_keys_server.cli.program import main
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.proofs import Proofs
from tests.cli.runs import Run, created
from tests.conftest import KEY
from tests.databases import Database, SqliteDatabase
from tests.mints import mint_of


@pytest.mark.usefixtures("ada")
def test_the_life_of_a_key_on_the_command_line(run: Run) -> None:
    key = created(run)
    assert run("keys", "verify", stdin=key["key"] + "\n").code == 0
    assert run("keys", "revoke", key["key_id"], "--reason", "lost", "--json").json["revoked_reason"] == "lost"
    refused = run("keys", "verify", stdin=key["key"])
    assert (refused.code, refused.out, refused.err) == (
        1,
        "",
        "mcp-keys-server: the API key is refused: it was revoked\n",
    )
    assert run("keys", "list", "--json").json == []
    assert [entry["status"] for entry in run("keys", "list", "--all", "--json").json] == ["revoked"]


@pytest.mark.usefixtures("ada")
def test_a_created_key_is_one_object_of_documented_fields(run: Run) -> None:
    key = created(run)
    assert list(key) == ["key", "key_id", "user_id", "name", "scopes", "aliases", "tools", "created_at", "expires_at"]
    assert KEY.fullmatch(key["key"])
    assert (key["user_id"], key["name"], key["aliases"], key["expires_at"]) == ("ada", "Laptop", None, None)
    assert key["tools"] is None
    assert key["scopes"] == ["keys:read", "keys:write"]


@pytest.mark.usefixtures("ada")
def test_a_key_is_as_narrow_as_it_is_asked_for(run: Run) -> None:
    narrow = ["--scopes", "orders:read x", "--aliases", "notes keys", "--tools", "notes:read_*"]
    key = created(run, *narrow, "--expires-in-days", "0.5")
    assert (key["scopes"], key["aliases"]) == (["orders:read", "x"], ["keys", "notes"])
    assert key["expires_at"] > key["created_at"]
    principal = run("keys", "verify", "--json", stdin=key["key"]).json
    assert principal == {
        "user_id": "ada",
        "key_id": key["key_id"],
        "scopes": ["orders:read", "x"],
        "aliases": ["keys", "notes"],
        "tools": ["notes:read_*"],
        "expires_at": key["expires_at"],
    }


@pytest.mark.usefixtures("ada")
def test_a_user_is_named_by_email_as_well(run: Run) -> None:
    assert run("keys", "create", "--user", "ADA@example.com", "--name", "x", "--json").json["user_id"] == "ada"
    assert len(run("keys", "list", "--user", "ada@example.com", "--json").json) == 1


@pytest.mark.usefixtures("ada")
def test_people_get_tables_and_lines(run: Run) -> None:
    assert run("keys", "list").out == "There are no such keys.\n"
    text = run("keys", "create", "--user", "ada", "--name", "Laptop").out
    assert KEY.search(text)
    assert "expires_at  never" in text
    assert "scopes      keys:read keys:write" in text
    table = run("keys", "list").out.splitlines()
    assert table[0].split() == [
        "KEY_ID",
        "USER_ID",
        "NAME",
        "PREFIX",
        "STATUS",
        "SCOPES",
        "ALIASES",
        "TOOLS",
        "EXPIRES_AT",
        "LAST_USED_AT",
    ]
    assert table[1].split()[1:3] == ["ada", "Laptop"]
    assert not KEY.search("\n".join(table))
    users = run("users", "list").out.splitlines()
    assert users[1].startswith("ada      ada@example.com  Ada L.")


def test_users_are_added_and_listed(run: Run) -> None:
    added = run("users", "add", "ada", "--json").json
    assert (added["user_id"], added["email"], added["disabled_at"]) == ("ada", None, None)
    assert [user["user_id"] for user in run("users", "list", "--json").json] == ["ada"]
    assert "user_id      bob" in run("users", "add", "bob").out


REFUSED: dict[str, tuple[list[str], str]] = {
    "a taken user id": (["users", "add", "ada"], "already taken"),
    "a taken e-mail": (["users", "add", "eve", "--email", "ADA@EXAMPLE.COM"], "already taken"),
    "a key for nobody": (["keys", "create", "--user", "eve", "--name", "x"], "'mcp-keys-server users list'"),
    "keys of nobody": (["keys", "list", "--user", "eve@example.com"], "'mcp-keys-server users list'"),
    "an unknown key": (["keys", "revoke", "key_0123456789abcdef"], "'mcp-keys-server keys list --all'"),
}


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_ends_with_1_and_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert sentence in done.err


MISUSED: dict[str, tuple[list[str], str]] = {
    "an unknown command": (["rotate"], "No such command"),
    "an unknown option": (["users", "list", "--jason"], "No such option"),
    "no name": (["keys", "create", "--user", "ada"], "Missing option '--name'"),
    "a bad user id": (["users", "add", "Ada"], "user_id: 1 to 64"),
    "a bad e-mail": (["users", "add", "eve", "--email", "eve"], "email: "),
    "a bad name": (["users", "add", "eve", "--name", "a\tb"], "name: "),
    "a bad user": (["keys", "create", "--user", "A B", "--name", "x"], "user: "),
    "a bad key name": (["keys", "create", "--user", "ada", "--name", ""], "name: "),
    "a bad scope": (["keys", "create", "--user", "ada", "--name", "x", "--scopes", "A"], "scopes: "),
    "a bad tool": (["keys", "create", "--user", "ada", "--name", "x", "--tools", "read"], "tools: "),
    "a bad alias": (["keys", "create", "--user", "ada", "--name", "x", "--aliases", "A"], "aliases: "),
    "a life of words": (
        ["keys", "create", "--user", "ada", "--name", "x", "--expires-in-days", "z"],
        "--expires-in-days",
    ),
    "a life of none": (
        ["keys", "create", "--user", "ada", "--name", "x", "--expires-in-days", "0"],
        "expires_in_days: ",
    ),
    "a bad key id": (["keys", "revoke", "Laptop"], "key_id: 'key_'"),
    "a bad reason": (["keys", "revoke", "key_0123456789abcdef", "--reason", "a\nb"], "reason: "),
    "no file of settings": (["users", "list", "--config", "nothing.toml"], "--config: "),
    "no key to verify": (["keys", "verify"], "standard input: an API key; there is none"),
    "a bad port": (["serve", "--port", "70000"], "port "),
}


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(("arguments", "sentence"), MISUSED.values(), ids=MISUSED)
def test_what_is_misused_ends_with_2_and_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


@pytest.mark.usefixtures("ada")
def test_a_key_of_the_command_line_has_its_proof_under_the_secret_that_was_set(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("ab" * 32)
    monkeypatch.setenv("MCP_KEYS_PROOF_SECRET_FILE", str(path))
    key = created(run)["key"]
    ((key_hash, proof),) = database.sql("SELECT key_hash, proof FROM secrets")
    assert proof == Proofs(b"\xab" * 32, no_store).make(ApiKey(key, tag="mhu_"), key_hash)
    path.write_text("hunter2")
    done = run("keys", "list")
    assert (done.code, done.out) == (2, "")
    assert "proof_secret_file: the file has to hold 64 hexadecimal digits" in done.err
    assert "hunter2" not in done.err


async def no_store(_: object) -> None:
    raise AssertionError


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "revoke", "KEY"],
        ["keys", "verify", "KEY"],
        ["keys", "KEY"],
        ["KEY"],
        ["keys", "create", "--user", "KEY", "--name", "x"],
        ["keys", "create", "--user", "ada", "--name", "KEY"],
        ["keys", "create", "--user", "ada", "--name", "x", "--expires-in-days", "KEY"],
        ["keys", "list", "--KEY"],
        ["users", "add", "KEY"],
        ["serve", "--port", "KEY"],
        ["stdio", "KEY"],
    ],
    ids=" ".join,
)
def test_a_key_where_none_belongs_is_never_echoed(run: Run, arguments: list[str]) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run(*(argument.replace("KEY", key) for argument in arguments))
    assert done.code == 2
    assert key[12:] not in done.out + done.err


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("presented", ["\0", "é" * 10_000, "mhu_" + "A" * 51, "x\ny\nz"], ids=range(4))
def test_whatever_is_on_standard_input_is_refused_without_an_echo(run: Run, presented: str) -> None:
    done = run("keys", "verify", stdin=presented)
    assert (done.code, done.err) == (
        1,
        "mcp-keys-server: the API key is refused: it is mistyped or cut off, or was never made here\n",
    )


def test_a_database_that_cannot_be_used_is_a_sentence(
    run: Run, sqlite_database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_database.folder.mkdir(0o700, exist_ok=True)
    sqlite_database.path.write_text("a diary" * 100)
    sqlite_database.path.chmod(0o600)
    monkeypatch.setenv("MCP_KEYS_DATABASE", str(sqlite_database))
    done = run("users", "list")
    assert (done.code, done.out) == (1, "")
    assert "no database at all" in done.err


@pytest.mark.parametrize("command", ["users list", "keys list", "keys create --user a --name b", "keys verify"])
def test_a_mistyped_path_makes_no_database(run: Run, database: Database, command: str) -> None:
    done = run(*command.split(), stdin="x")
    assert (done.code, done.out) == (1, "")
    assert re.search("(does not exist|has no tables .*); 'serve' and 'users add' make (it|them)", done.err)
    assert not database.is_there()


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("stdout", [None, "/dev/full"], ids=["closed", "full"])
def test_a_key_that_cannot_be_printed_is_revoked(run: Run, monkeypatch: pytest.MonkeyPatch, stdout: str | None) -> None:
    with contextlib.ExitStack() as stack:
        full = None if stdout is None else stack.enter_context(Path(stdout).open("w", buffering=1))
        with monkeypatch.context() as without_output:
            without_output.setattr(sys, "stdout", full)
            assert main(["keys", "create", "--user", "ada", "--name", "x"]) == 1
        if full is not None:
            with contextlib.suppress(OSError):
                full.close()
    (key,) = run("keys", "list", "--all", "--json").json
    assert (key["status"], key["revoked_reason"]) == ("revoked", "it could not be printed")


def test_without_standard_input_there_is_no_key_to_verify(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("users", "list").code == 1
    with pytest.MonkeyPatch.context() as without_input:
        without_input.setattr(sys, "stdin", None)
        assert main(["keys", "verify"]) == 2
        without_input.setenv("MCP_KEYS_API_KEY", "x")
        assert main(["stdio"]) == 2
    assert capsys.readouterr().err.count("standard input") == 2


def test_help_and_version_are_there(run: Run) -> None:
    assert "API keys for MCP, managed over MCP." in run("--help").out
    assert run("--version").out.startswith("mcp-keys-server, version 0.")
    nothing = run()
    assert (nothing.code, "Usage:" in nothing.err) == (2, True)


def test_ctrl_c_is_a_word_and_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import anyio

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    done = run("users", "list")
    assert (done.code, done.err) == (130, "\nmcp-keys-server: interrupted\n")
