"""What is relayed to a program, in whichever era each side speaks."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    LoggingMessageNotification,
    PromptReference,
    ResourceUpdatedNotification,
    TextContent,
    TextResourceContents,
)

from mcp_keys_server import RequestedGrant
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.server.gateway.programs.open_calls import send
from mcp_keys_server.server.gateway.programs.program_server import ProgramServer
from mcp_keys_server.server.gateway.tool_rules import ToolRules
from tests.server.gateway.served import ERAS, Served

pytestmark = pytest.mark.anyio
ALIASES = ("sample", "old")


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def says_blue(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    del context
    assert params.message == "Which colour?"
    return ElicitResult(action="accept", content={"colour": "blue"})


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("mode", ERAS)
async def test_all_that_a_program_offers_is_there(sample: Served, mode: str, alias: str) -> None:
    _, key = await sample.world.key()
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with sample.client(key, mode=mode, alias=alias) as client:
        assert client.server_info
        assert (client.server_info.name, client.server_info.version) == ("sample", "7")
        assert client.instructions == "Use it for tests."
        offered = client.server_capabilities.model_dump(exclude_none=True)
        asks_before = (mode, alias) == ("legacy", "old")  # what there is in the handshake era alone
        assert offered == {
            "completions": {},
            "prompts": {"list_changed": False},
            "resources": {"subscribe": asks_before, "list_changed": False},
            "tools": {"list_changed": False},
        } | ({"logging": {}} if asks_before else {})
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["note"].description == "Remember something, and say all that was remembered."
        assert text_of(await client.call_tool("note", {"text": "one"})) == "one"
        counted = await client.call_tool("count", {"to": 3}, progress_callback=note)
        assert counted.structured_content == {"result": 3}
        assert seen == [(1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]
        (contents,) = (await client.read_resource("sample://one")).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.text == "one"
        assert [resource.uri for resource in (await client.list_resources()).resources] == ["sample://one"]
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "sample://{name}"
        (prompt,) = (await client.list_prompts()).prompts
        assert prompt.name == "greet"
        greeting = await client.get_prompt("greet", {"name": "Ada"})
        assert "Say hello to Ada" in greeting.messages[0].model_dump_json()
        completed = await client.complete(PromptReference(name="greet"), {"name": "name", "value": "A"})
        assert completed.completion.values == ["A!"]
        failed = await client.call_tool("fail")
        assert failed.is_error
        assert "Error executing tool fail" in text_of(failed)


@pytest.mark.parametrize(("mode", "alias"), [(mode, alias) for mode in ERAS for alias in ALIASES])
async def test_a_program_asks_the_person_in_the_middle_of_a_call(sample: Served, mode: str, alias: str) -> None:
    _, key = await sample.world.key()
    async with sample.client(key, mode=mode, alias=alias, elicitation_callback=says_blue) as client:
        assert text_of(await client.call_tool("ask")) == "accept blue"


async def thinks(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    del context
    assert params.max_tokens == 10
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Well."), model="m")


@pytest.mark.parametrize(("mode", "alias"), [(mode, alias) for mode in ERAS for alias in ALIASES])
async def test_a_program_asks_the_model_in_the_middle_of_a_call(sample: Served, mode: str, alias: str) -> None:
    _, key = await sample.world.key()
    async with sample.client(key, mode=mode, alias=alias, sampling_callback=thinks) as client:
        assert "Well." in text_of(await client.call_tool("think"))


@pytest.mark.parametrize("mode", ERAS)
async def test_a_program_may_want_time_and_not_without_end(sample: Served, mode: str) -> None:
    _, key = await sample.world.key()
    async with sample.client(key, mode=mode) as client:
        assert text_of(await client.call_tool("later", {"rounds": 2})) == "done"
        with pytest.raises((MCPError, RuntimeError), match=r"more than \d+ (times|rounds)"):
            await client.call_tool("later", {"rounds": 1000})


@pytest.mark.parametrize("mode", ERAS)
async def test_nobody_is_asked_for_the_users_folders(sample: Served, mode: str) -> None:
    _, key = await sample.world.key()
    async with sample.client(key, mode=mode) as client:
        with pytest.raises(MCPError, match="folders"):
            await client.call_tool("folders")


async def test_a_question_that_may_be_of_two_calls_is_asked_of_none(sample: Served, tmp_path: Path) -> None:
    """In the handshake era a question does not say for which call it is."""
    _, key = await sample.world.key()
    async with (
        sample.client(key, mode="legacy", alias="old", elicitation_callback=says_blue) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.call_tool, "wait", {"seconds": 60, "mark": str(tmp_path / "mark")})
        with anyio.fail_after(20):
            while not sample.gateway.status or not sample.gateway.status[0].open_calls:
                await anyio.sleep(0.01)
        with pytest.raises(MCPError, match="Nobody can tell"):
            await client.call_tool("ask")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("mode", "alias"), [(mode, alias) for mode in ERAS for alias in ALIASES])
async def test_a_client_that_cannot_be_asked_is_told_so(sample: Served, mode: str, alias: str) -> None:
    _, key = await sample.world.key()
    async with sample.client(key, mode=mode, alias=alias) as client:
        try:
            answer = text_of(await client.call_tool("ask"))
        except MCPError as error:
            answer = error.error.message
        assert "cannot be asked" in answer or "Error executing tool ask" in answer


async def test_a_client_that_cannot_be_asked_is_told_what_it_would_have_to_declare(sample: Served) -> None:
    _, key = await sample.world.key()
    async with sample.client(key) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("ask")
    assert refused.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY
    assert refused.value.error.data == {"requiredCapabilities": {"elicitation": {"form": {}}}}


@pytest.mark.parametrize(("mode", "alias"), [(mode, alias) for mode in ERAS for alias in ALIASES])
async def test_an_answer_that_holds_a_key_reaches_no_program(sample: Served, mode: str, alias: str) -> None:
    _, key = await sample.world.key()

    async def gives_the_key_away(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        del context, params
        return ElicitResult(action="accept", content={"colour": f"it is {key.reveal()}"})

    async with sample.client(key, mode=mode, alias=alias, elicitation_callback=gives_the_key_away) as client:
        try:
            answer = text_of(await client.call_tool("ask"))
        except MCPError as error:
            answer = error.error.message
        assert key.prefix not in answer
        assert "holds an API key" in answer or "Error executing tool ask" in answer


@pytest.mark.parametrize("mode", ERAS)
async def test_a_program_is_shown_no_key(sample: Served, mode: str) -> None:
    record, key = await sample.world.key()
    async with sample.client(key, mode=mode) as client:
        with pytest.raises(MCPError, match="holds an API key"):
            await client.call_tool("note", {"text": f"my key is {key.reveal()}."})
        around = (await client.call_tool("surroundings")).structured_content
    assert around is not None
    folder = sample.folder / "sample" / "ada"
    assert around["argv"][1:] == ["ada"]
    assert around["cwd"] == str(folder)
    environment = around["env"]
    assert environment.keys() <= {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "NOTES", "LC_CTYPE"}
    assert (environment["HOME"], environment["NOTES"]) == (str(folder), str(folder / "notes"))
    everything = json.dumps(around)
    assert not any(secret in everything for secret in (key.reveal(), key.prefix, record.key_id))


async def test_a_state_that_an_upstream_gave_to_one_key_is_taken_from_no_other(sample: Served) -> None:
    (_, adas), (_, other) = await sample.world.key(), await sample.world.key()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "ask"}

    async def ask(http: httpx2.AsyncClient, **more: object) -> dict[str, Any]:
        params = {"name": "ask", "arguments": {}, "_meta": meta, **more}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        accept = {"accept": "application/json, text/event-stream"}
        response = await http.post(sample.endpoint(), json=message, headers=headers | accept)
        (line,) = [line for line in response.text.splitlines() if line.startswith(("data: {", "{"))]
        answer: dict[str, Any] = json.loads(line.removeprefix("data: "))
        return answer

    answers = {"colour": {"action": "accept", "content": {"colour": "red"}}}
    async with sample.http(adas) as http, sample.http(other) as others_http:
        state = (await ask(http))["result"]["requestState"]
        refused = await ask(others_http, inputResponses=answers, requestState=state)
        assert "was not given to this key" in refused["error"]["message"]
        again = await ask(http, inputResponses=answers, requestState=state)
        assert again["result"]["content"][0]["text"] == "accept red"


async def test_the_end_of_a_key_ends_a_call_that_waits_for_an_answer(sample: Served) -> None:
    """For which there is no request at the moment."""
    record, key = await sample.world.key()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "ask"}
    params = {"name": "ask", "arguments": {}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with sample.http(key) as http:
        accept = {"accept": "application/json, text/event-stream"}
        response = await http.post(sample.endpoint(alias="old"), json=message, headers=headers | accept)
    assert "input_required" in response.text
    server = sample.gateway._places["old"].server
    assert isinstance(server, ProgramServer)
    assert server.processes["ada"].is_in_use
    await sample.world.ring.administration.revoke_key(record.key_id, reason="stolen")
    with anyio.fail_after(10):
        while server.processes["ada"].is_in_use:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("alias", ALIASES)
async def test_a_client_that_hangs_up_cancels_the_work(sample: Served, tmp_path: Path, alias: str) -> None:
    """In the era in which the end of the response is what cancels a call."""
    _, key = await sample.world.key()
    mark = tmp_path / "mark"
    async with sample.client(key, alias=alias) as client:
        await client.call_tool("note", {"text": "it runs"})
        with anyio.move_on_after(2):
            await client.call_tool("wait", {"seconds": 60, "mark": str(mark)})
        await _comes(mark)


@pytest.mark.parametrize("alias", ALIASES)
async def test_a_notification_cancels_the_work(sample: Served, tmp_path: Path, alias: str) -> None:
    """In the era before, whose client sends one when its caller gives up."""
    _, key = await sample.world.key()
    mark = tmp_path / "mark"
    async with sample.client(key, alias=alias, mode="legacy") as client:
        with anyio.move_on_after(2):
            await client.call_tool("wait", {"seconds": 60, "mark": str(mark)})
        await _comes(mark)


@pytest.mark.parametrize(("mode", "alias"), [(mode, alias) for mode in ERAS for alias in ALIASES])
async def test_the_end_of_a_key_cancels_the_work(sample: Served, tmp_path: Path, mode: str, alias: str) -> None:
    record, key = await sample.world.key()
    mark, refused = tmp_path / "mark", anyio.Event()

    async def wait() -> None:
        try:
            async with sample.client(key, mode=mode, alias=alias) as client:
                await client.call_tool("wait", {"seconds": 60, "mark": str(mark)})
        except* MCPError:
            refused.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while not sample.gateway.status or not sample.gateway.status[0].open_calls:
                await anyio.sleep(0.01)
            await anyio.sleep(0.2)
            await sample.world.ring.administration.revoke_key(record.key_id, reason="stolen")
            await refused.wait()
            await _comes(mark)


async def test_only_what_a_key_may_call_is_listed_and_called(sample: Served) -> None:
    _, key = await sample.world.key(requested=RequestedGrant(tools=frozenset({"sample:no*", "old:*"})))
    async with sample.client(key) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["note"]
        with pytest.raises(MCPError, match="this key may not use it"):
            await client.call_tool("count", {"to": 1})


async def test_what_goes_wrong_in_the_gateway_is_said_without_what_it_was(
    sample: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await sample.world.key()

    async def crash(*_: object) -> None:
        raise ValueError("internal")

    async with sample.client(key) as client:
        await client.list_tools()
        monkeypatch.setattr(ToolRules, "shown", crash)
        with pytest.raises(MCPError, match="its log has the details"):
            await client.list_tools()
    assert "crashed: upstream sample user_id=ada" in caplog.text


async def test_a_database_that_does_not_answer_lets_nothing_pass_for_unchanged(
    sample: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await sample.world.key()

    async def no_answer(*_: object) -> None:
        raise StoreUnavailableError("down")

    async with sample.client(key) as client:
        monkeypatch.setattr(ToolRules, "shown", no_answer)
        with pytest.raises(MCPError, match="database does not answer"):
            await client.list_tools()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_tool_that_is_named_in_two_spellings_is_not_called(sample: Served, mode: str) -> None:
    _, key = await sample.world.key(requested=RequestedGrant(tools=frozenset({"sample:note"})))
    async with sample.client(key, mode=mode) as client:
        params = {"name": "note", "arguments": {"text": "x"}, "Name": "surroundings"}
        with pytest.raises(MCPError, match="this key may not use it"):
            await send(client, "tools/call", params)
        del params["Name"]
        await send(client, "tools/call", params)


async def test_a_state_that_is_no_text_was_not_given_to_this_key(sample: Served) -> None:
    _, key = await sample.world.key()
    async with sample.client(key) as client:
        reference = {"type": "ref/prompt", "name": "greet"}
        params = {"ref": reference, "argument": {"name": "name", "value": "A"}, "requestState": 5}
        with pytest.raises(MCPError, match="it was not given to this key"):
            await send(client, "completion/complete", params)


async def _comes(mark: Path) -> None:
    with anyio.fail_after(10):
        while not mark.exists():
            await anyio.sleep(0.01)
    assert mark.read_text() == "cancelled"


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")  # no one who speaks this era can help it
async def test_what_a_program_says_unasked_goes_to_the_sessions_that_want_it(sample: Served) -> None:
    """Of the handshake era, and as long as no restart comes between, or one does."""
    (_, key), heard = await sample.world.key(), []
    changed = anyio.Event()

    async def hear(message: IncomingMessage) -> None:
        heard.append(message)
        if isinstance(message, ResourceUpdatedNotification):
            changed.set()

    async with (
        sample.client(key, mode="legacy", alias="old", message_handler=hear) as client,
        sample.client(key, mode="legacy", alias="old", message_handler=hear) as other,
    ):
        assert client.server_capabilities.resources
        assert client.server_capabilities.resources.subscribe
        assert client.server_capabilities.logging is not None
        for each in (client, other):
            await each.session.subscribe_resource("sample://one")
        await other.session.unsubscribe_resource("sample://one")
        await client.session.set_logging_level("info")
        await other.session.set_logging_level("error")
        for restarts in range(2):
            if restarts:
                with pytest.raises(MCPError, match="ended during the call"):
                    await client.call_tool("end", {"code": 0})
                with anyio.fail_after(20):
                    while True:
                        try:
                            await client.list_tools()
                            break
                        except MCPError:
                            await anyio.sleep(0.1)
            heard.clear()
            await client.call_tool("announce", {"uri": "sample://one"})
            with anyio.fail_after(10):
                await changed.wait()
            changed = anyio.Event()
            said = [it.params.data for it in heard if isinstance(it, LoggingMessageNotification)]
            assert said == ["it is announced"]
            assert len([it for it in heard if isinstance(it, ResourceUpdatedNotification)]) == 1
