"""The tools of an upstream, listed before anybody asked for them."""

from collections.abc import Sequence
from typing import Any, Final

from mcp import Client
from mcp_types import ListToolsRequest, PaginatedRequestParams
from pydantic import BaseModel, Field

from mcp_keys_server.server.gateway.tool_rules import Definition

SECONDS_TO_LIST: Final = 30.0
MOST_PAGES: Final = 100


class _Page(BaseModel):
    # As it stands on the wire: what the SDK makes of a tool would not have the digest of what clients are shown.
    tools: list[dict[str, Any]]
    cursor: str | None = Field(default=None, alias="nextCursor")


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


def first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
