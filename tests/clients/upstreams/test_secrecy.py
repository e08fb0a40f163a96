"""What is behind an alias never gets to know the key that opened it, nor one user what another keeps there."""

import json
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.clients.connections import AUTO, LEGACY, over_http, text_of
from tests.clients.upstreams.aliases import Behind
from tests.clients.upstreams.sample_calls import CALLS, OF_EACH_SERVER, SampleCall
from tests.conftest import KEY

pytestmark = pytest.mark.anyio

SECONDS = 60
IN_EACH_ERA = pytest.mark.parametrize("era", [AUTO, LEGACY])
CALLS_OF_EACH = 100
TELLS_ALL = {"everything": "get-env", "fastmcp": "surroundings"}
"""The tool with which a server says what it knows of its process, and of the request."""


@dataclass
class Heard:
    """All that a client was answered, heads and bodies."""

    said: list[str] = field(default_factory=list)

    async def hear(self, response: httpx2.Response) -> None:
        self.said += [f"{name}: {value}" for name, value in response.headers.items()]
        if response.request.method == "POST":  # what is not posted may be a stream without an end
            self.said.append((await response.aread()).decode())


@IN_EACH_ERA
@OF_EACH_SERVER
@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_nothing_that_it_says_holds_the_key(behind: Behind, sample: SampleCall, header: str, era: str) -> None:
    heard = Heard()
    key = f"Bearer {behind.adas_key}" if header == "Authorization" else behind.adas_key
    tells_all = TELLS_ALL.get(sample.alias.removesuffix("-http"))
    with anyio.fail_after(SECONDS):
        async with (
            httpx2.AsyncClient(headers={header: key}, event_hooks={"response": [heard.hear]}) as http,
            Client(streamable_http_client(behind.endpoint(sample.alias), http_client=http), mode=era) as ada,
        ):
            await ada.list_tools()
            await ada.call_tool(sample.tool, sample.arguments)
            if tells_all:
                known = json.loads(text_of(await ada.call_tool(tells_all)))
                environment = known.get("env", known)
                assert "PATH" in environment
                if sample.alias in TELLS_ALL:  # a program, which the gateway started
                    assert not [name for name in environment if name.startswith("MCP_KEYS_")]
    transcript = "\n".join(heard.said)
    assert sample.tool in transcript
    assert behind.adas_key not in transcript
    assert not KEY.search(transcript)


async def test_a_server_elsewhere_gets_no_header_that_says_who_the_user_is(behind: Behind) -> None:
    theirs = {"Cookie": "session=1", "X-Forwarded-For": "10.0.0.7", "Origin": behind.server.base_url}
    with anyio.fail_after(SECONDS):
        async with (
            httpx2.AsyncClient(headers={"X-API-Key": behind.adas_key, **theirs}) as http,
            Client(streamable_http_client(behind.endpoint("fastmcp-http"), http_client=http)) as ada,
        ):
            known: dict[str, Any] = json.loads(text_of(await ada.call_tool("surroundings")))
    assert "mcp-protocol-version" in known["headers"]
    assert known["headers"].keys().isdisjoint({"authorization", "x-api-key", *map(str.lower, theirs)})


@pytest.mark.parametrize("sample", [call for call in CALLS if call.alias == "memory"], ids=["memory"])
@IN_EACH_ERA
async def test_two_users_at_once_each_find_only_what_is_theirs(behind: Behind, sample: SampleCall, era: str) -> None:
    keys = {"ada": behind.adas_key, "bob": behind.bobs_key}
    created: dict[str, list[Any]] = {user: [] for user in keys}
    found: dict[str, set[str]] = {}

    async def create(client: Client, user: str, number: int) -> None:
        entity = {"name": f"{user} {era} {number}", "entityType": "note", "observations": [f"of {user}"]}
        result = await client.call_tool("create_entities", {"entities": [entity]})
        assert not result.is_error, text_of(result)
        created[user] += json.loads(text_of(result))

    async def use(user: str) -> None:
        async with over_http(behind.endpoint(sample.alias, user), keys[user], era) as client:
            async with anyio.create_task_group() as calls:
                for number in range(CALLS_OF_EACH):
                    calls.start_soon(create, client, user, number)
            graph = json.loads(text_of(await client.call_tool("read_graph")))
        found[user] = {entity["name"] for entity in graph["entities"]}

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as users:
            for user in keys:
                users.start_soon(use, user)
    for user in keys:
        expected = {f"{user} {era} {number}" for number in range(CALLS_OF_EACH)}
        assert {entity["name"] for entity in created[user]} == expected
        # Of what is written at the same moment, this server itself loses some.
        assert found[user] & expected
        assert all(name.startswith(f"{user} ") for name in found[user])
        kept = (behind.folder / sample.alias / user / "memory.json").read_text()
        assert {json.loads(line)["name"] for line in kept.splitlines()} == found[user]
