"""The tools of a server somewhere else, listed before a call."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import httpx2
from mcp import Client, MCPError

from mcp_keys_server.server.gateway.remotes.relay_trouble import Trouble, TroubleError
from mcp_keys_server.server.gateway.tool_listing import SECONDS_TO_LIST, first_error, listed_tools
from mcp_keys_server.server.gateway.tool_rules import Definition


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


def _first_line(problem: BaseException) -> str:
    # What follows it, where there is more, repeats what the server has sent.
    return next(iter(str(first_error(problem)).splitlines()), "")
