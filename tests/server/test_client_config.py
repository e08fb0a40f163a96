import json
import shlex
import sys
from pathlib import Path

import pytest

from mcp_keys_server.server import client_config

URL = "https://keys.example.com/u/ada/keys/mcp"


def test_claude_desktop_gets_the_header_from_the_environment() -> None:
    entry = json.loads(client_config.claude_desktop_remote(URL, "KEY"))["mcpServers"]["keys"]
    assert entry["args"] == ["-y", "mcp-remote@0.15.1", URL, "--header", "Authorization:${AUTH_HEADER}"]
    assert entry["env"] == {"AUTH_HEADER": "Bearer KEY"}
    assert not any(" " in argument for argument in entry["args"])


@pytest.mark.parametrize(
    ("url", "plain"),
    [("http://keys.lan:8000/u/ada/keys/mcp", True), ("http://localhost:8000/u/ada/keys/mcp", False), (URL, False)],
)
def test_mcp_remote_is_told_when_a_key_goes_in_the_clear_to_another_machine(url: str, *, plain: bool) -> None:
    entry = json.loads(client_config.claude_desktop_remote(url, "KEY"))["mcpServers"]["keys"]
    assert ("--allow-http" in entry["args"]) is plain


def test_claude_desktop_starts_the_installed_program_by_its_real_path() -> None:
    entry = json.loads(client_config.claude_desktop_stdio(Path("/data/keys.db"), "KEY"))["mcpServers"]["keys-local"]
    assert Path(entry["command"]).is_file()
    assert entry["args"][-3:] == ["stdio", "--database", "/data/keys.db"]
    assert entry["env"] == {"MCP_KEYS_API_KEY": "KEY"}


def test_without_an_installed_script_the_interpreter_runs_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert client_config.installed_program() == [str(tmp_path / "python"), "-m", "mcp_keys_server"]


def test_commands_survive_a_shell() -> None:
    for command in (client_config.claude_code(URL, "K-_E"), client_config.inspector(URL, "K-_E")):
        assert "Authorization: Bearer K-_E" in shlex.split(command)
        assert URL in shlex.split(command)
