import json

import httpx2
import pytest

from mcp_keys_server.server.client_config import Client
from mcp_keys_server.server.delivery import Call
from mcp_keys_server.server.stdio import key_tools
from mcp_keys_server.settings import Settings
from tests.conftest import KEY
from tests.server.calls import call
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("client", list(Client))
async def test_every_client_is_told_the_users_own_endpoint_and_no_key(
    world: World, http: httpx2.AsyncClient, client: Client
) -> None:
    _, key = await world.key()
    told = (await call(http, key, "client_config", {"client": client, "alias": "notes"})).structured
    assert "http://127.0.0.1:8000/u/ada/notes/mcp" in told["text"].replace("\\/", "/")
    assert "YOUR_KEY" in told["text"]
    assert not KEY.search(json.dumps(told))


async def test_an_unknown_client_is_answered_with_those_there_are(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    refused = await call(http, key, "client_config", {"client": "emacs"})
    assert refused.is_error
    assert "'claude-desktop', 'claude-code'" in refused.text
    assert "emacs" not in refused.text


async def test_an_alias_that_is_none_is_refused(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    assert (await call(http, key, "client_config", {"client": "zed", "alias": "a/b"})).is_error


async def test_on_stdio_the_client_starts_this_program(world: World) -> None:
    principal = await world.principal()
    tool = key_tools(world.ring, Settings(database=world.database.setting)).table()["client_config"]
    told = await tool.run(Call(principal), tool.arguments.model_validate({"client": "claude-desktop"}))
    entry = json.loads(told.model_dump()["text"])["mcpServers"]["keys"]
    assert entry["args"][-3:] == ["stdio", "--database", world.address]
    assert entry["env"] == {"MCP_KEYS_API_KEY": "YOUR_KEY"}
