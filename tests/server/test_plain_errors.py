"""Nothing of a message is in the error that it gets, because somebody may have pasted a key into it."""

import json

import httpx2
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.server.plain_errors import PlainErrors
from tests.leaks.wrong_places import era, message
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("place", ["method", "params", "jsonrpc", "all", "list", "tool", "uri"])
async def test_a_key_that_is_pasted_anywhere_into_a_message_is_not_sent_back(
    world: World, http: httpx2.AsyncClient, place: str, *, modern: bool
) -> None:
    _, key = await world.key()
    pasted = key.reveal()
    right = message("tools/list", modern=modern)
    bodies = {
        "method": {**right, "method": pasted},
        "params": {**right, "params": pasted},
        "jsonrpc": {**right, "jsonrpc": pasted},
        "all": pasted,
        "list": [pasted],
        "tool": message("tools/call", modern=modern, name=pasted, arguments={}),
        "uri": message("resources/read", modern=modern, uri=f"x://{pasted}"),
    }
    headers = {**era("tools/list", modern=modern), "x-api-key": pasted}
    for name in ({"mcp-method": pasted} if modern else {}, {}):
        answer = await http.post("/u/ada/keys/mcp", headers=headers | name, json=bodies[place])
        assert "error" in answer.json()
        assert pasted[12:28] not in answer.text
        assert pasted[-16:] not in answer.text
        assert "pydantic" not in answer.text


async def in_parts(scope: Scope, receive: Receive, send: Send) -> None:
    parts = ['{"error":{"message":"m",', '"data":"x"}}']
    await StreamingResponse(parts, media_type="application/json")(scope, receive, send)


DETAIL = {"requested": "1", "supported": ["2"]}


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (JSONResponse({"error": {"code": 1, "message": "m", "data": "mine"}}), {"error": {"code": 1, "message": "m"}}),
        (JSONResponse({"error": {"code": 1, "message": "m", "data": DETAIL}}, 400), None),
        (JSONResponse({"result": {"error": {"data": "mine"}}}), None),
        (JSONResponse([{"error": {"code": 1, "message": "m", "data": "mine"}}]), None),
        (JSONResponse({"result": 1}), None),
        (PlainTextResponse('"error":{'), None),
        (in_parts, None),
    ],
    ids=["a text", "more than a text", "a result", "a list", "another result", "no JSON", "in parts"],
)
async def test_an_answer_is_as_it_was_but_for_the_text_of_an_error(answer: ASGIApp, body: object) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(answer), base_url="http://test") as http:
        was = await http.get("/")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(PlainErrors(answer)), base_url="http://test") as http:
        found = await http.get("/")
    assert found.status_code == was.status_code
    assert found.content == (was.content if body is None else json.dumps(body, separators=(",", ":")).encode())
    assert found.headers.get("content-length", f"{len(found.content)}") == f"{len(found.content)}"
