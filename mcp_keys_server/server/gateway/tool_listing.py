"""The tools of a server, listed before anybody asked for them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
import httpx2
from mcp import Client, MCPError
from mcp_types import ListToolsRequest, PaginatedRequestParams
from pydantic import BaseModel, Field

from mcp_keys_server.server.gateway.relay_trouble import Trouble, TroubleError
from mcp_keys_server.server.gateway.tool_rules import Definition

SECONDS_TO_LIST: Final = 30.0
MOST_PAGES: Final = 100


class _Page(BaseModel):
    # As it stands on the wire: what the SDK makes of a tool would not have the digest of what clients are shown.
    tools: list[dict[str, Any]]
    cursor: str | None = Field(default=None, alias="nextCursor")


async def tool_pages(
    connected: AbstractAsyncContextManager[Client], *, seconds: float = SECONDS_TO_LIST
) -> Sequence[Sequence[Definition]]:
    """
    Raises:
        TroubleError: They cannot be listed.
    """
    pages: Sequence[Sequence[Definition]] = ()
    problem: BaseException | None = None
    try:
        with anyio.fail_after(seconds):
            async with connected as client:
                pages = await listed_tools(client)
    except* (MCPError, httpx2.HTTPError, ValueError, OSError) as errors:  # a TimeoutError is an OSError
        problem = errors
    if problem is not None:
        raise TroubleError(Trouble.UNREACHABLE, f"its tools cannot be listed: {_first_line(problem)}")
    return pages


async def listed_tools(client: Client) -> Sequence[Sequence[Definition]]:
    """The pages of the list.

    Raises:
        MCPError: It has none.
        ValidationError: It is none.
    """
    pages: list[Sequence[Definition]] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        params = None if cursor is None else PaginatedRequestParams(cursor=cursor)
        page = await client.session.send_request(ListToolsRequest(params=params), _Page)
        pages.append(page.tools)
        cursor = page.cursor
        if cursor is None:
            break
    return pages


def _first_line(problem: BaseException) -> str:
    # What follows it, where there is more, repeats what the server has sent.
    return next(iter(str(first_error(problem)).splitlines()), "")


def first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
