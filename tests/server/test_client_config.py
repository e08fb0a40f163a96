import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_keys_server.server.client_config import (
    Client,
    Connection,
    Endpoint,
    LocalProgram,
    Snippet,
    all_snippets,
    inspector,
    installed_program,
    local_program,
    snippet,
)

URL = "https://keys.example.com/u/ada/keys/mcp"
KEY = "mhu_K-_E"
HTTP = Endpoint(URL)
LOCAL = LocalProgram(("/opt/mcp-keys-server", "stdio", "--database", "/data/keys.db"))
CONFIGURED = [client for client in Client if client is not Client.CLAUDE_CODE]

# What any path may hold: everything but NUL, and but what is no text in any encoding.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def made(client: Client, connection: Connection, alias: str = "keys") -> Snippet:
    return snippet(client, connection, alias=alias, key=KEY)


def from_yaml(text: str) -> Any:  # noqa: ANN401 - what a configuration holds
    """YAML as we write it: nested fields whose values are strings, or lists of them, that TOML reads alike."""
    root: dict[str, Any] = {}
    levels = [root]
    for line in text.split("\n"):
        depth = (len(line) - len(line.lstrip(" "))) // 2
        field, _, value = line.strip(" ").partition(":")
        name = json.loads(field) if field.startswith('"') else field
        levels[depth + 1 :] = [{}]
        levels[depth][name] = tomllib.loads(f"value ={value}")["value"] if value else levels[depth + 1]
    return root


READERS: dict[Client, Callable[[str], Any]] = {Client.CODEX: tomllib.loads, Client.LIBRECHAT: from_yaml}


def entry(shown: Snippet, section: str, alias: str = "keys") -> Any:  # noqa: ANN401 - what a configuration holds
    """The one thing that is configured."""
    configuration = READERS.get(shown.client, json.loads)(shown.text)
    assert list(configuration) == [section]
    assert list(configuration[section]) == [alias]
    return configuration[section][alias]


SECTIONS = {Client.VSCODE: "servers", Client.CODEX: "mcp_servers", Client.ZED: "context_servers"}
BEARER = {"Authorization": f"Bearer {KEY}"}
OVER_HTTP = {
    Client.VSCODE: {"type": "http", "url": URL, "headers": BEARER},
    Client.CURSOR: {"url": URL, "headers": BEARER},
    Client.CODEX: {"url": URL, "http_headers": BEARER},
    Client.GEMINI: {"type": "http", "url": URL, "headers": BEARER},
    Client.ZED: {"url": URL, "headers": BEARER},
    Client.LIBRECHAT: {"type": "streamable-http", "url": URL, "headers": BEARER},
    Client.MCP_JSON: {"type": "http", "url": URL, "headers": BEARER},
}
TYPED = (Client.VSCODE, Client.LIBRECHAT, Client.MCP_JSON)


@pytest.mark.parametrize("client", OVER_HTTP)
def test_a_client_that_speaks_http_gets_the_endpoint_and_the_header(client: Client) -> None:
    assert entry(made(client, HTTP), SECTIONS.get(client, "mcpServers")) == OVER_HTTP[client]


@pytest.mark.parametrize("client", CONFIGURED)
def test_a_client_on_the_same_machine_gets_the_program_with_the_key_in_its_environment(client: Client) -> None:
    assert entry(made(client, LOCAL), SECTIONS.get(client, "mcpServers")) == {
        **({"type": "stdio"} if client in TYPED else {}),
        "command": "/opt/mcp-keys-server",
        "args": ["stdio", "--database", "/data/keys.db"],
        "env": {"MCP_KEYS_API_KEY": KEY},
    }


def test_claude_desktop_gets_the_header_from_the_environment() -> None:
    configured = entry(made(Client.CLAUDE_DESKTOP, HTTP), "mcpServers")
    assert configured["command"] == "npx"
    assert configured["args"] == ["-y", "mcp-remote@0.15.1", URL, "--header", "Authorization:${AUTH_HEADER}"]
    assert configured["env"] == {"AUTH_HEADER": f"Bearer {KEY}"}
    assert not any(" " in argument for argument in configured["args"])


@pytest.mark.parametrize(
    ("url", "plain"),
    [("http://keys.lan:8000/u/ada/keys/mcp", True), ("http://localhost:8000/u/ada/keys/mcp", False), (URL, False)],
)
def test_mcp_remote_is_told_when_a_key_goes_in_the_clear_to_another_machine(url: str, *, plain: bool) -> None:
    configured = entry(made(Client.CLAUDE_DESKTOP, Endpoint(url)), "mcpServers")
    assert ("--allow-http" in configured["args"]) is plain


def test_claude_code_gets_a_command() -> None:
    start = ["claude", "mcp", "add"]
    over_http = [*start, "--transport", "http", "keys", URL, "--header", f"Authorization: Bearer {KEY}"]
    local = [*start, "keys", "-e", f"MCP_KEYS_API_KEY={KEY}", "--", *LOCAL.command]
    assert shlex.split(made(Client.CLAUDE_CODE, HTTP).text) == over_http
    assert shlex.split(made(Client.CLAUDE_CODE, LOCAL).text) == local


def test_commands_have_the_only_quotes_that_every_shell_knows() -> None:
    for command in (made(Client.CLAUDE_CODE, HTTP).text, inspector(URL, KEY)):
        assert f'"Authorization: Bearer {KEY}"' in command
        assert "'" not in command


@given(st.lists(words, min_size=1).map(tuple))
@example(("C:\\Program Files\\née\\x.exe", 'it\'s "$HOME" `x` %PATH% !', "\U0001f511", "\x7f\x85\u2028\ufeff", "no\n"))
def test_whatever_a_path_holds_is_read_back(command: tuple[str, ...]) -> None:
    for client in CONFIGURED:
        configured = entry(made(client, LocalProgram(command)), SECTIONS.get(client, "mcpServers"))
        assert (configured["command"], *configured["args"]) == command
    typed = shlex.split(made(Client.CLAUDE_CODE, LocalProgram(command)).text)
    assert tuple(typed[typed.index("--") + 1 :]) == command


@pytest.mark.parametrize("alias", ["no", "10", "1e5", "0x1f", "a-b_c"])
def test_an_alias_that_looks_like_something_else_is_a_name(alias: str) -> None:
    for connection in (HTTP, LOCAL):
        for client in CONFIGURED:
            assert entry(made(client, connection, alias), SECTIONS.get(client, "mcpServers"), alias)
        assert alias in shlex.split(made(Client.CLAUDE_CODE, connection, alias).text)
        assert f'\n  "{alias}":\n' in made(Client.LIBRECHAT, connection, alias).text


def test_every_client_is_told_what_to_paste_and_where() -> None:
    for connection in (HTTP, LOCAL):
        shown = all_snippets(connection, alias="keys")
        assert [each.client for each in shown] == list(Client)
        assert len({each.title for each in shown}) == len(Client)
        for each in shown:
            assert each.where.endswith(".")
            assert each.text.count("YOUR_KEY") == 1
            assert not each.text.endswith("\n")


def test_a_snippet_keeps_its_key_to_itself() -> None:
    assert KEY not in repr(made(Client.CODEX, HTTP))


def test_the_installed_program_is_started_by_its_real_path() -> None:
    program, *arguments = local_program(Path("/data/keys.db")).command
    assert Path(program).is_file()
    assert arguments[-3:] == ["stdio", "--database", "/data/keys.db"]


def test_without_an_installed_script_the_interpreter_runs_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert installed_program() == [str(tmp_path / "python"), "-m", "mcp_keys_server"]


def test_the_inspector_calls_the_endpoint_with_the_header() -> None:
    command = shlex.split(inspector(URL, KEY))
    assert URL in command
    assert command[command.index("--header") + 1] == f"Authorization: Bearer {KEY}"
