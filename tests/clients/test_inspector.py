import asyncio
import json
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import anyio
import pytest

from mcp_keys_server.server import client_config
from tests.clients.node_clients import NodeClients
from tests.databases import Database
from tests.running_server import RunningServer, environment
from tests.server.test_key_tools import TOOLS

pytestmark = pytest.mark.anyio

SECONDS = 30

IN_EACH_ERA = pytest.mark.parametrize("era", ["legacy", "modern"])
IN_EACH_MODE = pytest.mark.parametrize("era", ["legacy", "modern", "auto"])

# Exit codes of the Inspector.
AUTH_REQUIRED = 3
TOOL_IS_ERROR = 5


@dataclass(frozen=True)
class Inspector:
    """The Inspector as a command, which lives for one request, with a home of its own."""

    clients: NodeClients
    home: Path

    async def run(self, command: Sequence[str]) -> CompletedProcess[bytes]:
        # As at a desk, where it would open a browser to sign in; but it has nowhere to keep secrets.
        desk = {"MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "memory"}
        with anyio.fail_after(SECONDS):
            return await anyio.run_process(command, env=environment(HOME=str(self.home), **desk), check=False)

    async def ask(self, target: Sequence[str], *request: str) -> CompletedProcess[bytes]:
        program = self.clients.program(client_config.INSPECTOR)
        return await self.run([*program, "--cli", *target, *request, "--format", "json"])

    async def answer(self, target: Sequence[str], tool: str, **arguments: object) -> CompletedProcess[bytes]:
        request = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]
        return await self.ask(target, *request)

    async def call(self, target: Sequence[str], tool: str, **arguments: object) -> dict[str, Any]:
        """What the tool gives."""
        structured: dict[str, Any] = result_of(await self.answer(target, tool, **arguments))["structuredContent"]
        return structured

    def stdio_target(self, database: Database, key: str, era: str) -> list[str]:
        """The program as Claude Desktop is told to start it."""
        program = client_config.local_program(database.setting)
        made = client_config.snippet(client_config.Client.CLAUDE_DESKTOP, program, alias="local", key=key)
        configuration = json.loads(made.text)
        entry = configuration["mcpServers"]["local"]
        entry["env"] = environment(MCP_KEYS_SECRET_DELIVERY="inline", **entry["env"])
        file = self.home / f"{secrets.token_hex(4)}.json"
        file.write_text(json.dumps(configuration))
        return ["--config", str(file), "--server", "local", "--protocol-era", era]


def http_target(url: str, key: str, era: str) -> list[str]:
    return [url, "--transport", "http", "--header", f"Authorization: Bearer {key}", "--protocol-era", era]


def result_of(ended: CompletedProcess[bytes]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr.decode()
    result: dict[str, Any] = json.loads(ended.stdout)["result"]
    return result


@pytest.fixture
def inspector(node_clients: NodeClients, tmp_path: Path) -> Inspector:
    return Inspector(node_clients, tmp_path)


@IN_EACH_MODE
async def test_a_key_made_with_the_inspector_opens_the_endpoint_until_it_is_revoked(
    server: RunningServer, inspector: Inspector, era: str
) -> None:
    ada = http_target(server.endpoint(), server.first_key, era)
    made = await inspector.call(ada, "create_key", name="Laptop", scopes=["keys:read"])
    laptop = http_target(server.endpoint(), made["key"], era)
    answer, listed = await asyncio.gather(inspector.answer(laptop, "whoami"), inspector.call(ada, "list_keys"))
    result = result_of(answer)
    assert ("_meta" in result) == (era != "legacy")  # where, since 2026-07-28, servers name themselves
    who = result["structuredContent"]
    assert (who["user_id"], who["key"]["key_id"]) == ("ada", made["key_id"])
    assert {key["key_id"]: key["is_current"] for key in listed["keys"]}[made["key_id"]] is False
    assert made["key"] not in json.dumps(listed)
    assert (await inspector.call(ada, "revoke_key", key_id=made["key_id"]))["status"] == "revoked"
    assert (await inspector.answer(laptop, "whoami")).returncode == AUTH_REQUIRED


async def test_a_key_made_with_the_inspector_over_stdio_starts_the_program_until_it_is_revoked(
    server: RunningServer, database: Database, inspector: Inspector
) -> None:
    ada = inspector.stdio_target(database, server.first_key, "legacy")
    made = await inspector.call(ada, "create_key", name="Laptop")
    laptop = inspector.stdio_target(database, made["key"], "modern")
    result = result_of(await inspector.answer(laptop, "list_keys"))
    assert "_meta" in result
    current = [key["key_id"] for key in result["structuredContent"]["keys"] if key["is_current"]]
    assert current == [made["key_id"]]
    assert (await inspector.call(ada, "revoke_key", key_id=made["key_id"]))["status"] == "revoked"
    refused = await inspector.answer(laptop, "whoami")
    assert refused.returncode != 0
    assert b"MCP_KEYS_API_KEY: the API key is refused: it was revoked" in refused.stderr


@IN_EACH_ERA
async def test_the_schemas_of_the_tools_are_portable(server: RunningServer, inspector: Inspector, era: str) -> None:
    ended = await inspector.ask(
        http_target(server.endpoint(), server.first_key, era), "--method", "tools/list", "--strict"
    )
    assert [tool["name"] for tool in result_of(ended)["tools"]] == TOOLS
    assert "schemaFindings" not in json.loads(ended.stdout)  # warnings, with which it ends well


async def test_the_tools_over_stdio_are_those_over_http(
    server: RunningServer, database: Database, inspector: Inspector
) -> None:
    over_http = http_target(server.endpoint(), server.first_key, "auto")
    over_stdio = inspector.stdio_target(database, server.first_key, "auto")
    one, other = await asyncio.gather(*(inspector.ask(it, "--method", "tools/list") for it in (over_http, over_stdio)))
    assert result_of(one)["tools"] == result_of(other)["tools"]


async def test_the_command_that_serve_prints_works(server: RunningServer, inspector: Inspector) -> None:
    printed = client_config.inspector(server.endpoint(), server.first_key)
    assert f"  {printed}\n" in server.printed
    ended = await inspector.run(inspector.clients.without_npx(shlex.split(printed)))
    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout)["structuredContent"]["user_id"] == "ada"


@IN_EACH_ERA
async def test_what_is_refused_ends_with_an_exit_code_and_a_sentence(
    server: RunningServer, inspector: Inspector, era: str
) -> None:
    for target, code, sentence in (
        (http_target(server.endpoint(), server.first_key[:-1], era), AUTH_REQUIRED, "This server uses API keys"),
        # What a server answers to its question for the protocol, the Inspector keeps to itself.
        (
            http_target(server.endpoint("bob"), server.first_key, era),
            AUTH_REQUIRED,
            "This API key does not open this endpoint." if era == "legacy" else "(HTTP 403)",
        ),
        (http_target(server.endpoint(), server.first_key, era), TOOL_IS_ERROR, "key_id: you have no key with this id"),
    ):
        ended = await inspector.answer(target, "revoke_key", key_id="key_0000000000000000")
        said = (ended.stdout + ended.stderr).decode()
        assert (ended.returncode, sentence in said) == (code, True), said
        assert server.first_key[:-1] not in said
