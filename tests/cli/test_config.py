"""``config``, run in this process."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mcp_keys_server.cli.program import main
from mcp_keys_server.server.client_config import Client, Endpoint, local_program, snippet
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from tests.databases import Database
from tests.mints import mint_of
from tests.running_server import environment

ADA = Endpoint("http://127.0.0.1:8000/u/ada/keys/mcp")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``config`` with its settings and nobody else's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MCP_KEYS_{name.upper()}", raising=False)
    monkeypatch.setenv("MCP_KEYS_DATABASE", str(database))

    def run_it(*arguments: str, **settings: str) -> Done:
        with monkeypatch.context() as set_by:
            for name, value in settings.items():
                set_by.setenv(f"MCP_KEYS_{name.upper()}", value)
            code = main(["config", *arguments])
        printed = capsys.readouterr()
        assert not database.is_there()
        return Done(code, printed.out, printed.err)

    return run_it


@pytest.mark.parametrize("client", Client)
def test_what_to_paste_is_alone_on_standard_output(run: Run, client: Client) -> None:
    expected = snippet(client, ADA, alias="keys")
    assert run(client.value, "--user", "ada") == Done(
        0, f"{expected.text}\n", f"{expected.where} Put the key in the place of YOUR_KEY.\n"
    )


@pytest.mark.parametrize("client", Client)
def test_json_is_one_object_with_all_of_it(run: Run, client: Client) -> None:
    expected = snippet(client, ADA, alias="keys")
    done = run(client.value, "--user", "ada", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "client": client,
        "title": expected.title,
        "where": expected.where,
        "text": expected.text,
    }


def test_an_alias_names_the_endpoint_and_the_entry(run: Run) -> None:
    done = run("codex", "--user", "ada", "--alias", "notes")
    assert tomllib.loads(done.out)["mcp_servers"]["notes"]["url"].endswith("/u/ada/notes/mcp")


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "https://keys.example.com"},
        {"public_url": "https://keys.example.com", "port": "0"},
        {"host": "::", "port": "9000"},
        {"host": "::1"},
        {"host": "keys.lan"},
    ],
    ids=str,
)
def test_the_address_is_the_one_that_serve_prints(run: Run, settings: dict[str, str]) -> None:
    served = Settings.model_validate(settings)
    address = host_policy(served, port=served.port).public_url
    done = run("codex", "--user", "ada", **settings)
    assert tomllib.loads(done.out)["mcp_servers"]["keys"]["url"] == f"{address}/u/ada/keys/mcp"


@pytest.mark.parametrize("client", Client)
def test_a_client_on_this_machine_starts_the_program_with_its_database(
    run: Run, client: Client, database: Database
) -> None:
    expected = snippet(client, local_program(database.setting), alias="keys")
    assert run(client.value, "--local").out == f"{expected.text}\n"
    assert str(database.setting) in expected.text


MISUSED: dict[str, tuple[list[str], str]] = {
    "an unknown client": (["notepad", "--user", "ada"], "'notepad' is not one of 'claude-desktop', "),
    "no client": (["--user", "ada"], "Missing argument 'CLIENT'"),
    "no user": (["cursor"], "Missing option '--user', or '--local'."),
    "a user and none": (["cursor", "--user", "ada", "--local"], "--user does not go with --local"),
    "an e-mail": (["cursor", "--user", "ada@example.com"], "user_id: 1 to 64"),
    "a bad alias": (["cursor", "--user", "ada", "--alias", "a b"], "alias: 1 to 64"),
    "a bad name": (["cursor", "--local", "--alias", "a b"], "alias: 1 to 64"),
}


@pytest.mark.parametrize(("arguments", "sentence"), MISUSED.values(), ids=MISUSED)
def test_what_is_misused_ends_with_2_and_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_a_port_that_is_not_known_yet_is_no_address(run: Run) -> None:
    done = run("cursor", "--user", "ada", port="0")
    assert (done.code, done.out) == (2, "")
    assert "port: it is picked when the server starts" in done.err


@pytest.mark.parametrize(
    "arguments", ["KEY --user ada", "cursor --user KEY", "cursor --user ada --alias KEY", "cursor --local --alias KEY"]
)
def test_a_key_where_none_belongs_is_never_echoed(run: Run, arguments: str) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run(*arguments.replace("KEY", key).split())
    assert done.code == 2
    assert key[12:] not in done.out + done.err


def test_a_path_that_is_no_text_is_a_sentence(run: Run) -> None:
    done = run("codex", "--local", "--database", "/data/\udcff.db")
    assert (done.code, done.out) == (2, "")
    assert "database: its path is not UTF-8" in done.err


def test_help_names_every_client(run: Run) -> None:
    words = run("--help").out.replace(",", " ").replace(".\n", " ").split()
    assert set(Client) <= set(words)


def test_the_command_does_not_wait_for_the_sdk() -> None:
    code = (
        "import sys; from mcp_keys_server.cli import program; print(*sorted({'mcp', 'starlette'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "\n"
