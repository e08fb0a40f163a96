"""What a server asks in the middle of a call, and what becomes of a call that nobody waits for any more."""

import logging
from pathlib import Path

import anyio
import pytest
from mcp.client.session import ClientRequestContext
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    TextContent,
)

from tests.clients.connections import AUTO, LEGACY, over_http, text_of
from tests.clients.upstreams.aliases import Behind

pytestmark = pytest.mark.anyio

SECONDS = 30
IN_EACH_ERA = pytest.mark.parametrize("era", [AUTO, LEGACY])
ANSWERS = {"name": "Ada", "colour": "green"}


async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """Who sits at the client and answers what is asked."""
    del context, params
    return ElicitResult(action="accept", content=dict(ANSWERS))


async def model(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    del context
    (message,) = params.messages
    assert isinstance(message.content, TextContent)
    said = TextContent(type="text", text=f"You said: {message.content.text}")
    return CreateMessageResult(role="assistant", content=said, model="parrot")


@IN_EACH_ERA
@pytest.mark.parametrize(
    ("alias", "tool", "answer"),
    [
        ("everything", "trigger-elicitation-request", "Ada"),
        ("everything-http", "trigger-elicitation-request", "Ada"),
        ("fastmcp", "ask", "accept green"),
        ("fastmcp-current", "ask", "accept green"),
        ("fastmcp-http", "ask", "accept green"),
    ],
)
async def test_the_person_at_the_client_is_asked(  # noqa: PLR0917 - pytest's
    behind: Behind, caplog: pytest.LogCaptureFixture, alias: str, era: str, tool: str, answer: str
) -> None:
    # This client logs what it sends, and a sealed state may look like a key.
    caplog.set_level(logging.INFO, "mcp.client")
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era, elicitation_callback=person) as ada:
            result = await ada.call_tool(tool)
    assert not result.is_error
    said = " ".join(content.text for content in result.content if isinstance(content, TextContent))
    assert answer in said


@IN_EACH_ERA
@pytest.mark.parametrize("alias", ["everything", "everything-http"])
async def test_the_model_of_the_client_is_asked(behind: Behind, alias: str, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era, sampling_callback=model) as ada:
            result = await ada.call_tool("trigger-sampling-request", {"prompt": "Hello"})
    assert not result.is_error
    assert "You said: Resource trigger-sampling-request context: Hello" in text_of(result)


@IN_EACH_ERA
@pytest.mark.parametrize("alias", ["fastmcp", "fastmcp-current", "fastmcp-http"])
async def test_a_call_that_is_cancelled_ends_in_the_server_too(
    behind: Behind, alias: str, era: str, tmp_path: Path
) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"

    async def there(file: Path) -> None:
        while not file.exists():
            await anyio.sleep(0.01)

    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada, anyio.create_task_group() as tasks:
            tasks.start_soon(ada.call_tool, "wait", {"began": str(began), "ended": str(ended)})
            await there(began)
            tasks.cancel_scope.cancel()
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada:
            assert text_of(await ada.call_tool("add", {"a": 1, "b": 1})) == "2"
        await there(ended)
