"""An upstream that FastMCP makes, over standard input and output; with a port as its argument, over HTTP."""

import os
import sys
from pathlib import Path

import anyio
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_http_headers
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import BaseModel

server = FastMCP("shelf", version="7", instructions="Use it for tests.")


class Answer(BaseModel):
    colour: str


@server.tool
def add(a: int, b: int) -> int:
    return a + b


@server.tool
def surroundings() -> dict[str, object]:
    """All that this process knows of where it is and of who asks."""
    return {"argv": sys.argv, "env": dict(os.environ), "headers": get_http_headers(include_all=True)}


@server.tool
async def count(context: Context, to: int) -> int:
    """Tell of its progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to, f"at {number}")
    return to


@server.tool
async def wait(began: str, ended: str) -> None:
    """Write down that it waits, and that it does no more."""
    Path(began).touch()
    try:
        await anyio.sleep_forever()
    finally:
        Path(ended).touch()


@server.tool
async def ask(context: Context) -> str | InputRequiredResult:
    """Ask the person something, in the way of the era that the client speaks."""
    assert context.request_context
    if context.request_context.protocol_version < "2026-07-28":
        answer = await context.elicit("Which colour?", Answer)
        return f"{answer.action} {answer.data.colour if answer.action == 'accept' else None}"
    given = (context.input_responses or {}).get("colour")
    if not isinstance(given, ElicitResult):
        schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
        asked = ElicitRequest(params=ElicitRequestFormParams(message="Which colour?", requested_schema=schema))
        return InputRequiredResult(input_requests={"colour": asked}, request_state="asked")
    assert context.request_state == "asked"
    return f"{given.action} {(given.content or {}).get('colour')}"


@server.resource("shelf://book")
def book() -> str:
    return "The book."


@server.resource("shelf://book/{page}")
def page_of_book(page: str) -> str:
    return f"Page {page}."


@server.prompt
def review(title: str) -> str:
    return f"Review {title}."


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("http", show_banner=False, host="127.0.0.1", port=int(sys.argv[1]), path="/mcp")
    else:
        server.run("stdio", show_banner=False)
