"""An upstream that is a program of its own: ``python sample_program.py``. It says all that it is told.

With the argument ``legacy`` it knows of no protocol after 2025-11-25, with ``later`` of none before 2026-07-28.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    UNSUPPORTED_PROTOCOL_VERSION,
    Completion,
    CompletionArgument,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmptyResult,
    InputRequiredResult,
    ListRootsRequest,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel

server = MCPServer("sample", version="7", instructions="Use it for tests.", log_level="WARNING")
noted: list[str] = []


class Answer(BaseModel):
    colour: str


@server.tool()
def note(text: str) -> list[str]:
    """Remember something, and say all that was remembered."""
    noted.append(text)
    return noted


@server.tool()
def surroundings() -> dict[str, object]:
    """All that this process knows of where it is."""
    return {"argv": sys.argv, "env": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid(), "uid": os.getuid()}


@server.tool()
async def count(context: Context, to: int) -> int:
    """Tell of its progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to, f"at {number}")
    return to


@server.tool()
async def wait(seconds: float, mark: str) -> str:
    """Wait, and write down what became of it."""
    try:
        await anyio.sleep(seconds)
    except BaseException:
        Path(mark).write_text("cancelled")
        raise
    return "done"


@server.tool()
async def ask(context: Context) -> str | InputRequiredResult:
    """Ask the person something, in the way of the era that the client speaks."""
    if str(context.protocol_version) < "2026-07-28":
        answer = await context.elicit("Which colour?", Answer)
        return f"{answer.action} {answer.data.colour if answer.action == 'accept' else None}"
    given = (context.input_responses or {}).get("colour")
    if not isinstance(given, ElicitResult):
        schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
        asked = ElicitRequest(params=ElicitRequestFormParams(message="Which colour?", requested_schema=schema))
        return InputRequiredResult(input_requests={"colour": asked}, request_state="asked")
    assert context.request_state == "asked"
    return f"{given.action} {(given.content or {}).get('colour')}"


@server.tool()
async def think(context: Context) -> str | InputRequiredResult:
    """Ask the model something, in the way of the era that the client speaks."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="Well?"))
    if str(context.protocol_version) < "2026-07-28":
        answer = await context.session.send_request(
            CreateMessageRequest(params=CreateMessageRequestParams(messages=[question], max_tokens=10)),
            CreateMessageResult,
            metadata=ServerMessageMetadata(related_request_id=context.request_id),
        )
        return str(answer.content)
    given = (context.input_responses or {}).get("thought")
    if given is None:
        asked = CreateMessageRequest(params=CreateMessageRequestParams(messages=[question], max_tokens=10))
        return InputRequiredResult(input_requests={"thought": asked})
    return str(given)


@server.tool()
def later(context: Context, rounds: int) -> str | InputRequiredResult:
    """Want to be called again so many times."""
    done = int(context.request_state or 0)
    return "done" if done >= rounds else InputRequiredResult(request_state=str(done + 1))


@server.tool()
def folders() -> str | InputRequiredResult:
    """Ask for what nobody is asked here."""
    return InputRequiredResult(input_requests={"roots": ListRootsRequest()})


@server.tool()
async def announce(context: Context, uri: str) -> None:
    """Say unasked, first that and then what has changed."""
    session = context.request_context.session
    data = LoggingMessageNotificationParams(level="info", data="it is announced")
    await session.send_notification(LoggingMessageNotification(params=data))
    await session.send_resource_updated(uri)


@server.tool()
def fail() -> None:
    """Never works."""
    raise ValueError("it does not work")


@server.tool()
def end(code: int) -> None:
    """End at once."""
    os._exit(code)


@server.tool()
def create_key(name: str) -> str:
    """Make a key: what ours is called, too."""
    return name


@server.resource("sample://{name}")
def resource(name: str) -> str:
    return f"this is {name}"


@server.resource("sample://one")
def one() -> str:
    return "one"


@server.prompt()
def greet(name: str) -> str:
    """A greeting."""
    return f"Say hello to {name}"


@server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
async def complete(_: object, argument: CompletionArgument, __: object) -> Completion:
    return Completion(values=[f"{argument.value}!"])


async def refuse_the_handshake(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    if ctx.method == "initialize":
        raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "no", {"supported": ["2026-07-28"], "requested": "2025-11-25"})
    return await call_next(ctx)


async def agree(_: object, __: object) -> EmptyResult:
    return EmptyResult()


async def serve_the_handshake_era() -> None:
    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, agree)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, agree)
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, agree)
    async with stdio_server() as (incoming, outgoing):
        await serve_loop(low, incoming, outgoing, lifespan_state={})


if __name__ == "__main__":
    if "legacy" in sys.argv:
        anyio.run(serve_the_handshake_era)
    else:
        if "later" in sys.argv:
            server._lowlevel_server.middleware.append(refuse_the_handshake)
        server.run("stdio")
