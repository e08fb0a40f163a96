import anyio
import pytest
from mcp_types import ResourceTemplateReference, TextContent, TextResourceContents

from tests.clients.connections import AUTO, LEGACY, REVISION, over_http, text_of
from tests.clients.upstreams.aliases import Behind
from tests.clients.upstreams.sample_calls import OF_EACH_SERVER, SampleCall

pytestmark = pytest.mark.anyio

SECONDS = 30
IN_EACH_ERA = pytest.mark.parametrize("era", [AUTO, LEGACY])


@IN_EACH_ERA
@OF_EACH_SERVER
async def test_its_tools_are_listed_and_called(behind: Behind, sample: SampleCall, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(sample.alias), behind.adas_key, era) as ada:
            # A server that speaks only the earlier era is translated if it is a program, and relayed as it is if not.
            relayed_as_it_is = sample.alias == "everything-http"
            assert ada.protocol_version == REVISION[LEGACY if relayed_as_it_is else era]
            assert sample.tool in {tool.name for tool in (await ada.list_tools()).tools}
            result = await ada.call_tool(sample.tool, sample.arguments)
    assert not result.is_error
    assert sample.answer.format(folder=behind.folder) in text_of(result)


@IN_EACH_ERA
@pytest.mark.parametrize(
    ("alias", "prompt", "arguments", "filled"),
    [
        ("everything", "args-prompt", {"city": "Paris"}, "What's weather in Paris?"),
        ("everything-http", "args-prompt", {"city": "Paris"}, "What's weather in Paris?"),
        ("fastmcp", "review", {"title": "Emma"}, "Review Emma."),
        ("fastmcp-http", "review", {"title": "Emma"}, "Review Emma."),
    ],
)
async def test_its_prompts_are_listed_and_filled(  # noqa: PLR0917 - pytest's
    behind: Behind, alias: str, prompt: str, arguments: dict[str, str], filled: str, era: str
) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada:
            assert prompt in {each.name for each in (await ada.list_prompts()).prompts}
            (message,) = (await ada.get_prompt(prompt, arguments)).messages
    assert isinstance(message.content, TextContent)
    assert message.content.text == filled


@IN_EACH_ERA
@pytest.mark.parametrize(
    ("alias", "listed", "template", "uri", "text"),
    [
        (
            alias,
            "demo://resource/static/document/architecture.md",
            "demo://resource/dynamic/text/{resourceId}",
            "demo://resource/dynamic/text/1",
            "Resource 1: This is a plaintext resource",
        )
        for alias in ("everything", "everything-http")
    ]
    + [
        (alias, "shelf://book", "shelf://book/{page}", "shelf://book/7", "Page 7.")
        for alias in ("fastmcp", "fastmcp-http")
    ],
)
async def test_its_resources_are_listed_and_read(  # noqa: PLR0917 - pytest's
    behind: Behind, alias: str, listed: str, template: str, uri: str, text: str, era: str
) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada:
            assert listed in {str(each.uri) for each in (await ada.list_resources()).resources}
            templates = (await ada.list_resource_templates()).resource_templates
            assert template in {each.uri_template for each in templates}
            (content,) = (await ada.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.text.startswith(text)


@IN_EACH_ERA
@pytest.mark.parametrize("alias", ["everything", "everything-http"])
async def test_it_completes_what_is_begun(behind: Behind, alias: str, era: str) -> None:
    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada:
            template = ResourceTemplateReference(uri="demo://resource/dynamic/text/{resourceId}")
            completed = await ada.complete(template, {"name": "resourceId", "value": "7"})
    assert completed.completion.values == ["7"]


@IN_EACH_ERA
@pytest.mark.parametrize(
    ("alias", "tool", "arguments"),
    [
        ("everything", "trigger-long-running-operation", {"duration": 0.1, "steps": 3}),
        ("everything-http", "trigger-long-running-operation", {"duration": 0.1, "steps": 3}),
        ("fastmcp", "count", {"to": 3}),
        ("fastmcp-http", "count", {"to": 3}),
    ],
)
async def test_it_tells_of_its_progress(
    behind: Behind, alias: str, tool: str, arguments: dict[str, object], era: str
) -> None:
    told: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        del message
        told.append((progress, total))

    with anyio.fail_after(SECONDS):
        async with over_http(behind.endpoint(alias), behind.adas_key, era) as ada:
            result = await ada.call_tool(tool, arguments, progress_callback=hear)
    assert not result.is_error
    assert told == [(1, 3), (2, 3), (3, 3)]
