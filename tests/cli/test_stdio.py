"""``stdio`` as a process of its own; see tests/clients for real clients."""

import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.running_server import PROGRAM, environment, run

pytestmark = pytest.mark.long

MALFORMED = "it is mistyped or cut off, or was never made here"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


@pytest.fixture
def at(tmp_path: Path) -> tuple[str, str]:
    """The database, with a user."""
    database = ("--database", str(tmp_path / "data" / "keys.db"))
    assert run("users", "add", "ada", *database).returncode == 0
    return database


def a_key(at: tuple[str, str], *more: str) -> dict[str, Any]:
    created: dict[str, Any] = json.loads(
        run("keys", "create", "--user", "ada", "--name", "x", "--json", *at, *more).stdout
    )
    return created


def test_a_missing_key_is_a_sentence_and_2(at: tuple[str, str]) -> None:
    for environ in ({}, {"MCP_KEYS_API_KEY": "  "}):
        done = run("stdio", *at, **environ)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "mcp-keys-server: MCP_KEYS_API_KEY: set it to the API key with which this is to act\n"


def test_a_refused_key_is_a_sentence_and_2(at: tuple[str, str]) -> None:
    revoked = a_key(at)
    run("keys", "revoke", revoked["key_id"], *at)
    for presented, why in ((revoked["key"], "it was revoked"), (revoked["key"][:-1], MALFORMED), ("x\ny", MALFORMED)):
        done = run("stdio", *at, MCP_KEYS_API_KEY=presented)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"mcp-keys-server: MCP_KEYS_API_KEY: the API key is refused: {why}\n"


def test_a_key_for_other_endpoints_is_a_sentence_and_2(at: tuple[str, str]) -> None:
    done = run("stdio", *at, MCP_KEYS_API_KEY=a_key(at, "--aliases", "notes")["key"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not open the endpoint 'keys'" in done.stderr


class Spoken:
    """A conversation over standard input and output, line by line."""

    def __init__(self, at: tuple[str, str], key: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "stdio", *at],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(MCP_KEYS_API_KEY=key, MCP_KEYS_LOG_LEVEL="debug"),
        )
        self.say(INITIALIZE)
        assert self.hear()["id"] == 0
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def say(self, message: dict[str, Any] | str) -> None:
        assert self.process.stdin
        text = message if isinstance(message, str) else json.dumps(message)
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        self.say({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        result: dict[str, Any] = self.hear()["result"]
        return result

    def end(self) -> tuple[str, str]:
        """What was left on standard output, and the log."""
        return self.process.communicate(timeout=20)


def test_no_core_file_is_written_of_it(at: tuple[str, str]) -> None:
    spoken = Spoken(at, a_key(at)["key"])
    soft, hard = resource.prlimit(spoken.process.pid, resource.RLIMIT_CORE)
    spoken.end()
    assert soft == (1 if hard else 0)


def test_the_key_is_verified_again_for_every_call(at: tuple[str, str]) -> None:
    key = a_key(at)
    spoken = Spoken(at, key["key"])
    assert spoken.call("whoami")["structuredContent"]["user_id"] == "ada"
    run("keys", "revoke", key["key_id"], *at)
    refused = spoken.call("whoami")
    assert refused["isError"]
    assert "MCP_KEYS_API_KEY" in refused["content"][0]["text"]
    assert spoken.call("Hunter2") == refused
    out, log = spoken.end()
    assert "refused: no tool" in log
    assert "Hunter2" not in log
    assert (out, spoken.process.returncode) == ("", 0)
    assert key["key"][12:] not in log


def test_a_tool_that_the_key_may_not_call_is_neither_listed_nor_run(at: tuple[str, str]) -> None:
    key = a_key(at, "--tools", "keys:whoami keys:list_*")
    spoken = Spoken(at, key["key"])
    spoken.say({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert [tool["name"] for tool in spoken.hear()["result"]["tools"]] == ["list_keys", "list_events", "whoami"]
    errors = []
    for tool in ("revoke_key", "no_such_tool"):
        asked = {"name": tool, "arguments": {"key_id": key["key_id"]}}
        spoken.say({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked})
        errors.append(spoken.hear()["error"])
    assert errors[0] == errors[1]
    assert spoken.call("whoami")["structuredContent"]["key"]["status"] == "active"
    spoken.end()


def test_garbage_on_standard_input_is_answered_or_ignored_and_ends_nothing(at: tuple[str, str]) -> None:
    key = a_key(at)["key"]
    spoken = Spoken(at, key)
    for garbage in (
        "",
        "nonsense",
        "{}",
        "[]",
        "[" * 10_000,
        key,
        '"' + key + '"',
        '{"jsonrpc":"2.0","id":1,"method":5}',
    ):
        spoken.say(garbage)
    spoken.say({"jsonrpc": "2.0", "id": "last", "method": "ping"})
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1].get("id") != "last":
        heard.append(spoken.hear())
    assert all(message["jsonrpc"] == "2.0" for message in heard)
    out, log = spoken.end()
    assert out == ""
    assert key[12:] not in log + json.dumps(heard)
