import json
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS

from mcp_keys_server.server import client_config
from tests.clients.connections import (
    AUTO,
    LEGACY,
    MODERN,
    REVISION,
    call,
    emptied,
    over_http,
    over_stdio,
    sentence_of_refused_call,
)
from tests.conftest import KEY
from tests.databases import Database
from tests.running_server import PROGRAM, RunningServer, environment, run

pytestmark = pytest.mark.anyio

SECONDS = 30
IN_EACH_ERA = pytest.mark.parametrize("era", [LEGACY, AUTO, MODERN])
ENDED = "The API key with which this program was started is no longer valid (expired or revoked)."


def stdio_command(database: Database) -> list[str]:
    return [*PROGRAM, "stdio", "--database", str(database)]


def stdio_program(database: Database, key: str, era: str, log: Path) -> AbstractAsyncContextManager[Client]:
    variables = environment(MCP_KEYS_API_KEY=key, MCP_KEYS_SECRET_DELIVERY="inline")
    return over_stdio(stdio_command(database), variables, era, log)


SENTENCES = {
    401: "There is no valid API key here",
    403: "This API key does not open this endpoint",
}


async def assert_refused_over_http(url: str, key: str, era: str, *, status: int) -> None:
    """The client is refused, and shows our own sentence."""
    answers: list[int] = []
    with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match=SENTENCES[status]), flatten_subgroups=True):
        async with over_http(url, key, era, answers) as client:
            await client.list_tools()
    assert set(answers) == {status}


@IN_EACH_ERA
async def test_a_key_made_over_http_opens_the_endpoint_until_it_is_revoked(server: RunningServer, era: str) -> None:
    answers: list[int] = []
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            assert ada.protocol_version == REVISION[era]
            made = await call(ada, "create_key", name="Laptop")
            async with over_http(server.endpoint(), made["key"], era, answers) as laptop:
                who = await call(laptop, "whoami")
                assert (who["user_id"], who["key"]["key_id"]) == ("ada", made["key_id"])
                revoked = await call(ada, "revoke_key", key_id=made["key_id"], reason="Lost")
                assert (revoked["status"], revoked["revoked_reason"]) == ("revoked", "Lost")
                assert set(answers) <= {200, 202}
                with pytest.raises(MCPError):
                    await laptop.call_tool("whoami")
                assert answers[-1] == 401
            assert (await call(ada, "whoami"))["user_id"] == "ada"
        await assert_refused_over_http(server.endpoint(), made["key"], era, status=401)


@pytest.mark.parametrize("era", [LEGACY, AUTO])
async def test_a_key_made_over_stdio_opens_the_endpoint_and_the_program_until_it_is_revoked(
    server: RunningServer, database: Database, tmp_path: Path, era: str
) -> None:
    with anyio.fail_after(SECONDS):
        async with stdio_program(database, server.first_key, era, tmp_path / "ada.log") as ada:
            assert ada.protocol_version == REVISION[era]
            made = await call(ada, "create_key", name="Laptop")
            async with (
                stdio_program(database, made["key"], era, tmp_path / "laptop.log") as laptop,
                over_http(server.endpoint(), made["key"], era) as laptop_over_http,
            ):
                for connection in (laptop, laptop_over_http):
                    who = await call(connection, "whoami")
                    assert (who["user_id"], who["key"]["key_id"]) == ("ada", made["key_id"])
                await call(ada, "revoke_key", key_id=made["key_id"])
                assert (await sentence_of_refused_call(laptop, "whoami")).startswith(ENDED)
                with pytest.raises(MCPError):
                    await laptop_over_http.call_tool("whoami")
            assert (await call(ada, "whoami"))["user_id"] == "ada"


@IN_EACH_ERA
async def test_a_list_tells_the_keys_apart_and_gives_none_away(server: RunningServer, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            made = await call(ada, "create_key", name="Laptop", expires_in_days=7)
            assert made["expires_at"] is not None
            listed = await call(ada, "list_keys")
            keys = {key["key_id"]: key for key in listed["keys"]}
            shown = keys[made["key_id"]]
            assert (shown["name"], shown["status"], shown["is_current"]) == ("Laptop", "active", False)
            assert made["key"].partition("_")[2].startswith(shown["prefix"])
            assert [key["name"] for key in keys.values() if key["is_current"]] == ["First key"]
            assert made["key"] not in json.dumps(listed)
            assert "$2b$" not in json.dumps(listed)

            await call(ada, "revoke_key", key_id=made["key_id"])
            left = {key["key_id"] for key in (await call(ada, "list_keys"))["keys"]}
            assert left == keys.keys() - {made["key_id"]}
            everything = (await call(ada, "list_keys", include_revoked=True))["keys"]
            assert [key["status"] for key in everything if key["key_id"] == made["key_id"]] == ["revoked"]


@IN_EACH_ERA
async def test_a_client_may_revoke_the_key_it_uses(server: RunningServer, era: str) -> None:
    answers: list[int] = []
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            made = await call(ada, "create_key", name="Laptop", scopes=["keys:read", "keys:write"])
        async with over_http(server.endpoint(), made["key"], era, answers) as laptop:
            await laptop.list_tools()  # as every host does first; without, this client asks for it after the call
            assert (await call(laptop, "revoke_key", key_id=made["key_id"]))["is_current"]
            with pytest.raises(MCPError):
                await laptop.call_tool("whoami")
            assert answers[-1] == 401


@IN_EACH_ERA
async def test_what_a_tool_refuses_is_said_in_a_sentence_about_the_field(
    server: RunningServer, caplog: pytest.LogCaptureFixture, era: str
) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            made = await call(ada, "create_key", name="Laptop")
            # This client logs what it sends, and below it sends a key.
            caplog.set_level(logging.INFO, "mcp.client")
            for field, tool, arguments in (
                ("name: ", "create_key", {}),
                ("name: ", "create_key", {"name": "  "}),
                ("name: ", "create_key", {"name": 3}),
                ("scopes: ", "create_key", {"name": "Laptop", "scopes": ["orders:read"]}),
                ("expires_in_days: ", "create_key", {"name": "Laptop", "expires_in_days": 0}),
                ("unknown argument: ", "create_key", {"name": "Laptop", "user_id": "bob"}),
                ("cursor: ", "list_keys", {"cursor": "nonsense"}),
                ("key_id: you have no key", "revoke_key", {"key_id": "key_0000000000000000"}),
                ("key_id: this holds an API key", "revoke_key", {"key_id": made["key"]}),
            ):
                sentence = await sentence_of_refused_call(ada, tool, **arguments)
                assert sentence.startswith(field)
                assert made["key"] not in sentence
            with pytest.raises(MCPError) as unknown:
                await ada.call_tool("make_key", {})
            assert unknown.value.code == INVALID_PARAMS


@IN_EACH_ERA
async def test_an_argument_that_is_null_counts_as_left_out(server: RunningServer, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            made = await call(ada, "create_key", name="Laptop", scopes=None, aliases=None, expires_in_days=None)
            assert (made["scopes"], made["aliases"], made["expires_at"]) == (["keys:read"], None, None)
            assert await call(ada, "list_keys", cursor=None)
            assert (await call(ada, "revoke_key", key_id=made["key_id"], reason=None))["revoked_reason"] is None


@IN_EACH_ERA
async def test_a_key_that_may_only_read_makes_and_revokes_none(server: RunningServer, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, era) as ada:
            other = await call(ada, "create_key", name="Other")
            reader = await call(ada, "create_key", name="Reader")
        assert reader["scopes"] == ["keys:read"]
        async with over_http(server.endpoint(), reader["key"], era) as client:
            assert await call(client, "list_keys")
            assert "keys:write" in await sentence_of_refused_call(client, "create_key", name="More")
            assert "keys:write" in await sentence_of_refused_call(client, "revoke_key", key_id=other["key_id"])


@IN_EACH_ERA
async def test_a_key_opens_neither_another_users_endpoint_nor_another_alias(server: RunningServer, era: str) -> None:
    with anyio.fail_after(SECONDS):
        for url in (server.endpoint("bob"), server.endpoint(alias="orders")):
            await assert_refused_over_http(url, server.first_key, era, status=403)


@IN_EACH_ERA
async def test_a_mistyped_key_is_refused(server: RunningServer, era: str) -> None:
    with anyio.fail_after(SECONDS):
        await assert_refused_over_http(server.endpoint(), server.first_key[:-1], era, status=401)


async def test_the_configuration_for_claude_desktop_starts_the_program(
    server: RunningServer, database: Database, tmp_path: Path
) -> None:
    program = client_config.local_program(database.setting)
    desktop = client_config.Client.CLAUDE_DESKTOP
    made = client_config.snippet(desktop, program, alias="keys-local", key=server.first_key)
    assert made.text in server.printed
    entry = json.loads(made.text)["mcpServers"]["keys-local"]
    command = [entry["command"], *entry["args"]]
    with anyio.fail_after(SECONDS):
        async with over_stdio(command, environment(**entry["env"]), LEGACY, tmp_path / "log") as client:
            assert (await call(client, "whoami"))["user_id"] == "ada"


async def test_stdio_prints_nothing_but_json_rpc(server: RunningServer, database: Database, tmp_path: Path) -> None:
    client = {"protocolVersion": REVISION[LEGACY], "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "create_key", "arguments": {"name": "Laptop"}}},
        {"id": 4, "method": "tools/call", "params": {"name": "create_key", "arguments": {"name": ""}}},
        {"id": 5, "method": "tools/call", "params": {"name": "make_key", "arguments": {}}},
        {"id": 6, "method": "no/such/method"},
    ]
    lines = ["no JSON at all", *(json.dumps({"jsonrpc": "2.0"} | message) for message in asked), ""]
    program = stdio_command(database)
    variables = environment(
        MCP_KEYS_API_KEY=server.first_key, MCP_KEYS_LOG_LEVEL="debug", XDG_CONFIG_HOME=str(tmp_path / "config")
    )
    log = tmp_path / "log"
    with anyio.fail_after(SECONDS), emptied(log) as errors:
        async with await anyio.open_process(program, env=variables, stderr=errors) as process:
            assert process.stdin
            assert process.stdout
            printed = BufferedByteReceiveStream(process.stdout)
            await process.stdin.send("\n".join(lines).encode())
            unanswered = {1, 2, 3, 4, 5, 6}
            while unanswered:
                line = await printed.receive_until(b"\n", 64 * 1024)
                assert not KEY.search(line.decode())
                message = json.loads(line)
                assert message["jsonrpc"] == "2.0"
                unanswered.discard(message.get("id"))
            await process.stdin.aclose()
            assert [chunk async for chunk in printed] == []
            assert await process.wait() == 0
    logged = log.read_text()
    assert "created: " in logged
    assert not KEY.search(logged)
    (file,) = (tmp_path / "config" / "mcp-keys-server" / "keys").iterdir()
    async with over_http(server.endpoint(), file.read_text().strip(), MODERN) as laptop:
        assert (await call(laptop, "whoami"))["key"]["name"] == "Laptop"


def test_stdio_with_a_refused_key_says_so_on_standard_error_only(server: RunningServer, database: Database) -> None:
    ended = run("stdio", "--database", str(database), MCP_KEYS_API_KEY=server.first_key[:-1])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("mcp-keys-server: MCP_KEYS_API_KEY: ")
    assert server.first_key[:-1] not in ended.stderr
