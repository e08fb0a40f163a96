"""Tools that have changed, and that the operator accepts as they are while servers run."""

import pytest

from mcp_keys_server.server.gateway.tool_rules import ToolRules
from mcp_keys_server.upstreams import RemoteUpstream
from tests.world import World

pytestmark = pytest.mark.anyio

ALIAS = "notes"


def a_server(world: World) -> ToolRules:
    """What one serving process knows."""
    upstream = RemoteUpstream.model_validate({"url": "https://notes.example/mcp", "pin_descriptions": True})
    return ToolRules(ALIAS, upstream, (), world.ring.tool_pins, clock=world.clock)


async def shown(world: World, rules: ToolRules, **descriptions: str) -> list[object]:
    principal = await world.principal()
    listed = [{"name": name, "description": said, "inputSchema": {}} for name, said in descriptions.items()]
    return [tool["name"] for tool in await rules.shown(principal, listed)]


async def test_a_changed_tool_that_was_accepted_is_shown_by_servers_that_run(sqlite_world: World) -> None:
    one, other = a_server(sqlite_world), a_server(sqlite_world)
    for rules in (one, other):
        await shown(sqlite_world, rules, read="Reads", write="Writes")
        assert await shown(sqlite_world, rules, read="Reads", write="Sends it away") == ["read"]
    assert await sqlite_world.ring.tool_pins.forget(ALIAS) == 2
    for rules in (one, other):
        assert await shown(sqlite_world, rules, read="Reads", write="Sends it away") == ["read", "write"]


async def test_what_was_seen_before_it_was_forgotten_is_what_a_change_is_told_by(sqlite_world: World) -> None:
    rules = a_server(sqlite_world)
    await shown(sqlite_world, rules, read="Reads", write="Writes")
    await sqlite_world.ring.tool_pins.forget(ALIAS)
    assert await shown(sqlite_world, rules, read="Reads all", write="Writes") == ["write"]
    await sqlite_world.ring.tool_pins.forget(ALIAS)
    assert await shown(sqlite_world, rules, read="Reads all", write="Writes") == ["read", "write"]
