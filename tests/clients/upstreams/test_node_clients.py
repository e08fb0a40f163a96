import asyncio
from pathlib import Path

import anyio
import pytest

from tests.clients.connections import LEGACY, text_of
from tests.clients.node_clients import NodeClients
from tests.clients.test_inspector import Inspector, http_target, result_of
from tests.clients.test_mcp_remote import McpRemote
from tests.clients.upstreams.aliases import Behind
from tests.clients.upstreams.sample_calls import OF_EACH_SERVER, SampleCall
from tests.conftest import KEY

pytestmark = pytest.mark.anyio

SECONDS = 30


@OF_EACH_SERVER
async def test_the_inspector_lists_its_tools_and_calls_one(
    behind: Behind, node_clients: NodeClients, tmp_path: Path, sample: SampleCall
) -> None:
    inspector = Inspector(node_clients, tmp_path)
    target = http_target(behind.endpoint(sample.alias), behind.adas_key, "auto")
    listed, called = await asyncio.gather(
        inspector.ask(target, "--method", "tools/list"),
        inspector.answer(target, sample.tool, **sample.arguments),
    )
    assert sample.tool in {tool["name"] for tool in result_of(listed)["tools"]}
    (content,) = result_of(called)["content"]
    assert sample.answer.format(folder=behind.folder) in content["text"]


@OF_EACH_SERVER
async def test_its_tools_are_listed_and_called_through_mcp_remote(
    behind: Behind, node_clients: NodeClients, tmp_path: Path, sample: SampleCall
) -> None:
    mcp_remote = McpRemote(node_clients, tmp_path)
    start = mcp_remote.start(behind.endpoint(sample.alias), behind.adas_key)
    with anyio.fail_after(SECONDS):
        async with mcp_remote.connected(start, LEGACY) as client:
            assert sample.tool in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool(sample.tool, sample.arguments)
    assert sample.answer.format(folder=behind.folder) in text_of(result)
    assert not KEY.search(mcp_remote.log.read_text())
