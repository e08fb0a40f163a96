"""How a tool is announced."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from mcp_keys_server.server.client_config import Connection
from mcp_keys_server.server.delivery import Call
from mcp_keys_server.server.tool_arguments import Arguments

Run = Callable[[Call, Any], Awaitable[BaseModel]]
ConnectionOf = Callable[[str, str], Connection]
"""How a client reaches the endpoint of this user with this alias."""


@dataclass(frozen=True, slots=True)
class KeyTool:
    """One tool: how it is announced, what it takes, and what it does for a call."""

    definition: Tool
    arguments: type[Arguments]
    run: Run
    needs: frozenset[str]
    """The scopes without which it is of no use, and not listed."""


def announced(  # noqa: PLR0913, PLR0917 - what a tool is announced with
    run: Run,
    title: str,
    arguments: type[Arguments],
    result: type[BaseModel],
    annotations: ToolAnnotations,
    needs: frozenset[str] = frozenset(),
    more_description: str = "",
) -> KeyTool:
    definition = Tool(
        name=run.__name__,
        title=title,
        description=f"{inspect.getdoc(run)} {more_description}".rstrip(),
        input_schema=arguments.model_json_schema(),
        output_schema=result.model_json_schema(mode="serialization"),
        annotations=annotations,
    )
    return KeyTool(definition, arguments, run, needs)
