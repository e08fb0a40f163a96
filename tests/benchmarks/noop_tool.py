"""One MCP tool, which does nothing, in a server of the SDK; and how the program that serves it is started."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

from tests.benchmarks.mcp_requests import ANSWER, TOOL

PROGRAM: Final[Sequence[str]] = (sys.executable, "-m", "tests.benchmarks.noop_program")
PROGRAM_ENVIRONMENT: Final[Mapping[str, str]] = {"PYTHONPATH": str(Path(__file__).parents[2])}
"""Because the gateway starts it in a folder of its own."""


def noop_server() -> Server[Any]:
    tool = Tool(name=TOOL, input_schema={"type": "object", "additionalProperties": False})
    result = CallToolResult(content=[TextContent(text=ANSWER)])

    async def list_tools(_: object, __: object) -> ListToolsResult:
        return ListToolsResult(tools=[tool])

    async def call_tool(_: object, __: object) -> CallToolResult:
        return result

    return Server(
        TOOL,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda name: tool.input_schema if name == TOOL else None,
    )
