"""An upstream that is a program of its own: ``python sample_program.py``. It says all that it is told."""

import os
import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
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
    return {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "uid": os.getuid()}


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
        with open(mark, "w") as file:
            file.write("cancelled")
        raise
    return "done"


@server.tool()
async def ask(context: Context) -> str | InputRequiredResult:
    """Ask the person something, in the way of the era that the client speaks."""
    if context.protocol_version < "2026-07-28":
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


if __name__ == "__main__":
    server.run("stdio")
