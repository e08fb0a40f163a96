"""What the conformance suite wants of a server, over standard input and output; with a port as its argument, over HTTP.

Names, each with ``test_`` before it, and what is said under them, are the suite's.
"""

import base64
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    AudioContent,
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from tests.clients.upstreams.conformance_questions import ASKING_TOOLS, input_required_result_prompt

IMAGE = ImageContent(
    type="image",
    data="iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==",
    mime_type="image/png",
)
AUDIO = AudioContent(
    type="audio", data="UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=", mime_type="audio/wav"
)


def embedded(uri: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type="text/plain", text=text))


def simple_text() -> str:
    return "This is a simple text response for testing."


def image_content() -> ImageContent:
    return IMAGE


def audio_content() -> AudioContent:
    return AUDIO


def embedded_resource() -> EmbeddedResource:
    return embedded("test://embedded-resource", "This is an embedded resource content.")


def multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    text = TextContent(type="text", text="Multiple content types test:")
    return [text, IMAGE, embedded("test://mixed-content-resource", '{"value": 123}')]


async def tool_with_logging(context: Context) -> str:
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(said)
    return "Logged."


async def logging_tool(context: Context) -> str:
    return await tool_with_logging(context)


async def tool_with_progress(context: Context) -> str:
    for done in (0, 50, 100):
        await context.report_progress(done, 100, f"Completed step {done} of 100")
    return "Done."


def error_handling() -> None:
    raise ValueError("This tool intentionally returns an error for testing")


def custom_headers(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "here") -> str:
    return region


async def trigger_tool_change(context: Context) -> str:
    await context.notify_tools_changed()
    return "Changed."


def simple_prompt() -> str:
    return "This is a simple prompt for testing."


def prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def prompt_with_embedded_resource(resourceUri: str) -> UserMessage:  # noqa: N803 - the suite's
    return UserMessage(embedded(resourceUri, "Embedded resource content for testing."))


def prompt_with_image() -> UserMessage:
    return UserMessage(IMAGE)


def static_text() -> str:
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    return base64.b64decode(IMAGE.data)


def template(id: str) -> str:  # noqa: A002 - the suite's
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


TOOLS: list[Callable[..., Any]] = [
    simple_text,
    image_content,
    audio_content,
    embedded_resource,
    multiple_content_types,
    tool_with_logging,
    logging_tool,
    tool_with_progress,
    error_handling,
    custom_headers,
    trigger_tool_change,
    *ASKING_TOOLS,
]
PROMPTS: list[Callable[..., Any]] = [
    simple_prompt,
    prompt_with_arguments,
    prompt_with_embedded_resource,
    prompt_with_image,
    input_required_result_prompt,
]


def conformance_server() -> MCPServer:
    server = MCPServer("conformance", version="1", log_level="WARNING")
    for tool in TOOLS:
        name = f"test_{tool.__name__}"
        server.add_tool(tool, name=name, description="The suite knows.", structured_output=False)
    for prompt in PROMPTS:
        name = f"test_{prompt.__name__}"
        server.add_prompt(Prompt.from_function(prompt, name=name, description="The suite knows."))
    server.resource("test://static-text", mime_type="text/plain")(static_text)
    server.resource("test://static-binary", mime_type="image/png")(static_binary)
    server.resource("test://template/{id}/data", mime_type="application/json")(template)
    server.completion()(complete)  # type: ignore[no-untyped-call]
    return server


async def complete(
    ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, context: CompletionContext | None
) -> Completion:
    del ref, context
    return Completion(values=[place for place in ("paris", "park", "rome") if place.startswith(argument.value)])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        conformance_server().run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        conformance_server().run("stdio")
