"""Connections of the official Python client, and calls over them."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

SECONDS_TO_ANSWER = 30
"""On a machine that is busy with other things."""
LEGACY = "legacy"
AUTO = "auto"
MODERN = "2026-07-28"
REVISION = {LEGACY: "2025-11-25", AUTO: "2026-07-28", MODERN: "2026-07-28"}
"""What each way to connect leads to: the handshake, the question of what the server speaks, and no question at all."""


@asynccontextmanager
async def over_http(
    url: str,
    key: str,
    era: str,
    answers: list[int] | None = None,
    **more: Any,  # noqa: ANN401 - the client's
) -> AsyncIterator[Client]:
    """Connected with this key; the status of every answer goes into ``answers``."""

    async def remember(response: httpx2.Response) -> None:
        if answers is not None:
            answers.append(response.status_code)

    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, event_hooks={"response": [remember]}, timeout=SECONDS_TO_ANSWER) as http,
        Client(streamable_http_client(url, http_client=http), mode=era, **more) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(
    command: Sequence[str], environment: Mapping[str, str], era: str, log: Path
) -> AsyncIterator[Client]:
    """Connected with this program as a child, whose standard error goes into the log."""
    program, *arguments = command
    parameters = StdioServerParameters(command=program, args=arguments, env=dict(environment))
    with emptied(log) as errors:
        async with Client(stdio_client(parameters, errors), mode=era) as client:
            yield client


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """What the tool gives, which is the same in both its forms."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    structured: dict[str, Any] = json.loads(text_of(result))
    assert structured == result.structured_content
    return structured


async def sentence_of_refused_call(client: Client, tool: str, **arguments: object) -> str:
    """What the tool says to a call that it refuses."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    return text_of(result)


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def emptied(log: Path) -> TextIO:
    return log.open("w")
