import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from mcp import Client, MCPError

from mcp_keys_server.server import client_config
from tests.clients.connections import AUTO, LEGACY, REVISION, call, emptied, over_http, over_stdio
from tests.clients.node_clients import NodeClients
from tests.conftest import KEY
from tests.running_server import RunningServer, environment

pytestmark = pytest.mark.anyio

SECONDS = 30
NO_OAUTH = "This server uses API keys, not OAuth. Send one as 'Authorization: Bearer YOUR_KEY'"
SPEAKS_MODERN = "Remote server speaks MCP 2026-07-28"


@dataclass(frozen=True)
class McpRemote:
    """mcp-remote as Claude Desktop starts it from our configuration, with a home of its own."""

    clients: NodeClients
    home: Path

    @property
    def log(self) -> Path:
        return self.home / "log"

    def start(self, url: str, key: str, *more: str) -> tuple[list[str], dict[str, str]]:
        """The command and its environment."""
        desktop = client_config.Client.CLAUDE_DESKTOP
        made = client_config.snippet(desktop, client_config.Endpoint(url), alias="keys", key=key)
        entry = json.loads(made.text)["mcpServers"]["keys"]
        command = [*self.clients.without_npx([entry["command"], *entry["args"]]), *more]
        return command, self.environment(**entry["env"])

    def start_with_the_bare_key(self, url: str, key: str) -> tuple[list[str], dict[str, str]]:
        program = self.clients.program(client_config.MCP_REMOTE)
        return [*program, url, "--header", f"X-API-Key:{key}"], self.environment()

    def environment(self, **more: str) -> dict[str, str]:
        return environment(HOME=str(self.home), MCP_REMOTE_CONFIG_DIR=str(self.home / "auth"), **more)

    def connected(
        self, start: tuple[Sequence[str], dict[str, str]], era: str = LEGACY
    ) -> AbstractAsyncContextManager[Client]:
        command, variables = start
        return over_stdio(command, variables, era, self.log)


@pytest.fixture
def mcp_remote(node_clients: NodeClients, tmp_path: Path) -> McpRemote:
    return McpRemote(node_clients, tmp_path)


async def assert_it_does_the_main_job(client: Client, server: RunningServer) -> None:
    """Over this connection a key is made, listed and revoked, and the endpoint knows it at once."""
    answers: list[int] = []
    made = await call(client, "create_key", name="Laptop")
    async with over_http(server.endpoint(), made["key"], AUTO, answers) as laptop:
        assert (await call(laptop, "whoami"))["key"]["key_id"] == made["key_id"]
        listed = await call(client, "list_keys")
        assert made["key_id"] in {key["key_id"] for key in listed["keys"]}
        assert made["key"] not in json.dumps(listed)
        assert (await call(client, "revoke_key", key_id=made["key_id"]))["status"] == "revoked"
        assert set(answers) == {200}
        with pytest.raises(MCPError):
            await laptop.call_tool("whoami")
        assert answers[-1] == 401


@pytest.mark.parametrize("era", [LEGACY, AUTO])
async def test_a_key_made_through_mcp_remote_opens_the_endpoint(
    server: RunningServer, mcp_remote: McpRemote, era: str
) -> None:
    start = mcp_remote.start(server.endpoint(), server.first_key)
    with anyio.fail_after(SECONDS):
        async with mcp_remote.connected(start, era) as client:
            assert client.protocol_version == REVISION[era]
            await assert_it_does_the_main_job(client, server)
    assert not KEY.search(mcp_remote.log.read_text())


async def test_mcp_remote_does_the_main_job_with_the_bare_key_in_its_own_header(
    server: RunningServer, mcp_remote: McpRemote
) -> None:
    start = mcp_remote.start_with_the_bare_key(server.endpoint(), server.first_key)
    with anyio.fail_after(SECONDS):
        async with mcp_remote.connected(start) as client:
            await assert_it_does_the_main_job(client, server)


async def test_mcp_remote_does_the_main_job_for_an_old_client_over_the_new_protocol(
    server: RunningServer, mcp_remote: McpRemote
) -> None:
    start = mcp_remote.start(server.endpoint(), server.first_key, "--protocol", "auto")
    with anyio.fail_after(SECONDS):
        async with mcp_remote.connected(start) as client:
            assert client.protocol_version == REVISION[LEGACY]
            await assert_it_does_the_main_job(client, server)
    assert SPEAKS_MODERN in mcp_remote.log.read_text()


async def test_a_key_made_through_mcp_remote_works_in_mcp_remote_until_it_is_revoked(
    server: RunningServer, mcp_remote: McpRemote
) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(server.endpoint(), server.first_key, AUTO) as ada:
            made = await call(ada, "create_key", name="Laptop")
            async with mcp_remote.connected(mcp_remote.start(server.endpoint(), made["key"])) as laptop:
                assert (await call(laptop, "whoami"))["key"]["is_current"]
                await call(ada, "revoke_key", key_id=made["key_id"])
                with pytest.raises(MCPError) as refused:
                    await laptop.call_tool("whoami")
                assert NO_OAUTH in refused.value.message


@pytest.mark.parametrize("protocol", ["legacy", "auto"])
async def test_mcp_remote_ends_and_says_what_to_do_when_the_key_is_bad(
    server: RunningServer, mcp_remote: McpRemote, protocol: str
) -> None:
    command, variables = mcp_remote.start(server.endpoint(), server.first_key[:-1], "--protocol", protocol)
    with anyio.fail_after(SECONDS), emptied(mcp_remote.log) as log:
        # Its standard input stays open: it ends because it is refused, not because nobody is there.
        async with await anyio.open_process(command, env=variables, stdout=log, stderr=log) as process:
            assert await process.wait() == 1
    said = mcp_remote.log.read_text()
    assert NO_OAUTH in said
    assert server.first_key[:-1] not in said


async def test_mcp_remote_ends_and_says_why_when_the_endpoint_is_anothers(
    server: RunningServer, mcp_remote: McpRemote
) -> None:
    command, variables = mcp_remote.start(server.endpoint("bob"), server.first_key)
    with anyio.fail_after(SECONDS), emptied(mcp_remote.log) as log:
        async with await anyio.open_process(command, env=variables, stdout=log, stderr=log) as process:
            assert await process.wait() == 1
    assert "This API key does not open this endpoint." in mcp_remote.log.read_text()


async def test_it_goes_on_through_a_rotation_with_the_old_secret_and_then_with_the_new_one(
    mcp_remote: McpRemote, server: RunningServer
) -> None:
    with anyio.fail_after(SECONDS * 2):
        async with over_http(server.endpoint(), server.first_key, AUTO) as ada:
            made = await call(ada, "create_key", name="Laptop", scopes=["keys:read", "keys:write"])
            async with mcp_remote.connected(mcp_remote.start(server.endpoint(), made["key"])) as laptop:
                rotated = await call(ada, "rotate_key", key_id=made["key_id"], overlap_hours=1)
                assert (await call(laptop, "whoami"))["key"]["key_id"] == made["key_id"]
            async with mcp_remote.connected(mcp_remote.start(server.endpoint(), rotated["key"])) as laptop:
                assert (await call(laptop, "whoami"))["key"]["key_id"] == made["key_id"]
                refused = await ada.call_tool("rotate_key", {"key_id": made["key_id"]})
                assert refused.is_error
                assert (await call(laptop, "whoami"))["key"]["is_current"]
