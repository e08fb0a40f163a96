"""What goes to a server somewhere else, and what comes back."""

import json
import logging
import subprocess
import sys
from base64 import b64encode
from typing import Any

import anyio
import pytest
from starlette.types import Message

from mcp_keys_server.server.gateway.remotes.posted_message import posted
from mcp_keys_server.server.gateway.remotes.relay_trouble import Trouble, TroubleError
from tests.server.gateway.remotes.remote_upstreams import (
    A_KEY,
    ADA,
    ALIAS,
    JSON,
    LEGACY,
    MODERN,
    Connection,
    Request,
    a_gateway,
    always,
    an_upstream,
    call,
    pong,
    request,
    result,
)

pytestmark = pytest.mark.anyio
_REFUSED_BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", -32700),
    "no JSON": (b"{", -32700),
    "no number of JSON": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
    "a number that has no end": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}', -32700),
    "too deep": (b"[" * 100_000, -32700),
    "no text": (b'"\xff"', -32700),
    "another encoding": ('{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"), -32700),
    "a batch": (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    "a word": (b'"ping"', -32600),
    "no version": (b'{"id":1,"method":"ping"}', -32600),
    "an id that is a list": (b'{"jsonrpc":"2.0","id":[],"method":"ping"}', -32600),
    "an id that is a truth": (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
    "an id that is no text": (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', -32600),
    "an endless id": (json.dumps({"jsonrpc": "2.0", "id": "1" * 2000, "method": "ping"}).encode(), -32600),
    "no method and no result": (b'{"jsonrpc":"2.0","id":1}', -32600),
    "both a result and an error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600),
    "a request with a result": (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600),
    "a method that is none": (b'{"jsonrpc":"2.0","id":1,"method":"p\\u00fcng"}', -32600),
    "a call without an id": (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"}}', -32600),
    "a second method for others": (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', -32600),
    "parameters that are none": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":1}', -32600),
}


async def test_nothing_of_the_client_but_the_protocol_reaches_the_server() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(
            request(),
            authorization=f"Bearer {A_KEY}",
            x_api_key=A_KEY,
            cookie="session=1",
            origin="https://evil.example",
            referer="https://evil.example",
            forwarded="for=192.0.2.1",
            x_forwarded_for="192.0.2.1",
            x_real_ip="192.0.2.1",
            proxy_authorization="Basic eA==",
            host="keys.example.com",
            user_agent="a client",
            accept_encoding="gzip",
            te="trailers",
            x_anything="else",
            mcp_protocol_version=LEGACY,
            traceparent="00-1-2-03",
            baggage="a=b",
        )
        assert (answer.status, answer.json) == (200, result(pong=True))
        (asked,) = upstream.requests
        names = dict(asked.headers)
        assert names.pop("host") == upstream.url.split("/")[2]
        assert names.pop("user-agent").startswith("mcp-keys-server/")
        assert int(names.pop("content-length")) == len(asked.body)
        assert names == {
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "mcp-protocol-version": LEGACY,
            "traceparent": "00-1-2-03",
            "baggage": "a=b",
        }


async def test_nothing_of_the_server_but_the_protocol_reaches_the_client() -> None:
    answering = always(
        200,
        result(),
        **JSON,
        cache_control="no-transform",
        x_accel_buffering="no",
        set_cookie="a=b",
        www_authenticate="Bearer",
        access_control_allow_origin="*",
        server="x",
        location="/",
    )
    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert answer.headers == JSON | {"cache-control": "no-transform", "x-accel-buffering": "no"}


async def test_the_operators_headers_and_address_are_filled_for_each_key() -> None:
    async with an_upstream(pong) as upstream:
        fields: dict[str, Any] = {
            "url": upstream.url + "/{user_id}/{alias}?key={key_id}",
            "headers": {"Authorization": "Bearer s3cret", "X-User": "{user_id} at {alias} with {key_id}"},
        }
        async with a_gateway(upstream, **fields) as gateway:
            await gateway.ask(request())
        (asked,) = upstream.requests
        assert asked.target == f"/mcp/ada/{ALIAS}?key=key1"
        assert asked.header("authorization") == "Bearer s3cret"
        assert asked.header("x-user") == f"ada at {ALIAS} with key1"


async def test_the_operators_headers_come_before_all_others() -> None:
    headers = {"User-Agent": "ours", "BAGGAGE": "a=1"}
    async with an_upstream(pong) as upstream, a_gateway(upstream, headers=headers) as gateway:
        await gateway.ask(request(), baggage="a=2", user_agent="theirs")
        (asked,) = upstream.requests
        assert (asked.header("user-agent"), asked.header("baggage")) == ("ours", "a=1")


async def test_a_message_is_written_anew() -> None:
    body = '{ "jsonrpc":"2.0", "id":"a", "method":"tools/list", "method":"ping", "params":{"ü": 1.50} }'.encode()
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(body)
        assert answer.json == result("a", pong=True)
        assert upstream.requests[0].body == b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"\\u00fc":1.5}}'


@pytest.mark.parametrize("name", _REFUSED_BODIES)
async def test_what_is_no_message_goes_nowhere(name: str) -> None:
    body, code = _REFUSED_BODIES[name]
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(body)
        assert (answer.status, answer.code, answer.json["id"]) == (400, code, None)
        assert not upstream.requests


async def test_notifications_and_responses_are_passed_on() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        messages = [
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}},
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}},
        ]
        for message in messages:
            answer = await gateway.ask(message)
            assert (answer.status, answer.body, answer.complete) == (202, b"", True)
        assert upstream.messages == messages
        assert not gateway.usage.uses


async def test_a_message_has_its_content_type_and_its_bounds() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        assert (await gateway.ask(request(), content_type="text/plain")).status == 415
        assert (await gateway.ask(request(), content_type="application/json; charset=utf-8")).status == 200
        assert (await gateway.ask(request(), content_length=str(5 * 1024 * 1024))).status == 413
        assert (await gateway.ask(request(text="a" * 4 * 1024 * 1024))).status == 413
        assert (await gateway.ask(request(text="a" * 4_000_000))).status == 200
        assert len(upstream.requests) == 2


async def test_a_message_comes_in_pieces_and_in_time() -> None:
    pieces = [b'{"jsonrpc":"2.0",', b'"id":1,"method":"ping"}']
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}

    async def receive() -> Message:
        if not pieces:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or late}

    late = False
    assert (await posted(scope, receive)).method == "ping"
    pieces, late = [b"{"], True
    with pytest.raises(TroubleError) as raised:
        await posted(scope, receive, seconds=0.01)
    assert raised.value.trouble is Trouble.TOO_SLOW


async def test_a_client_that_leaves_before_it_has_said_anything_gets_nothing() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        waiting = gateway.open(b"")
        assert (await waiting.end()).status == 400
        never: list[Message] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            never.append(message)

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
        await gateway.server(scope | {"mcp_keys.principal": ADA}, receive, send)
        assert not never
        assert not upstream.requests


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_answered(method: str) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request(), method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "POST, GET, DELETE")
        assert not upstream.requests


@pytest.mark.parametrize(
    "message",
    [
        call(text=f"my key is {A_KEY}"),
        request("tools/call", name="read", arguments={A_KEY: 1}),
        {"jsonrpc": "2.0", "id": 7, "result": {"action": "accept", "content": {"key": A_KEY}}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"message": A_KEY}},
    ],
    ids=["a call", "a name in a call", "an answer to a question", "a notification"],
)
async def test_a_message_that_holds_a_key_goes_nowhere(message: dict[str, Any]) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(message)
        is_request = "method" in message and "id" in message
        assert (answer.status, answer.json["id"]) == ((200, 1) if is_request else (400, None))
        assert "revoke it" in answer.said
        assert not upstream.requests


async def test_a_key_is_found_however_its_letters_are_written() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in A_KEY)
    body = f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{escaped}"}}}}'.encode()
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        assert "revoke it" in (await gateway.ask(body)).said
        assert not upstream.requests


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baggage", f"a={A_KEY}"),
        ("baggage", "a=" + "".join(f"%{ord(letter):02x}" for letter in A_KEY)),
        ("mcp_param_place", A_KEY),
        ("mcp_param_place", f"=?base64?{b64encode(A_KEY.encode()).decode()}?="),
        ("tracestate", A_KEY),
        ("mcp_name", A_KEY),
        ("last_event_id", A_KEY),
    ],
    ids=["baggage", "escaped baggage", "a parameter", "a wrapped parameter", "tracestate", "a name", "an event"],
)
async def test_a_header_that_holds_a_key_goes_nowhere(name: str, value: str) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request(), mcp_protocol_version=MODERN, **{name: value})
        assert answer.status == 200
        assert "revoke it" in answer.said
        assert not upstream.requests


async def test_the_modern_headers_are_made_of_the_message() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        called = {"mcp_method": "tools/call", "mcp_name": "=?base64?bGVzZW4tw7w=?=", "mcp_param_place": "Ulm"}
        read = {"mcp_method": "resources/read", "mcp_name": "=?base64?ZmlsZTovLy9h?="}
        await gateway.ask(call("lesen-ü"), mcp_protocol_version=MODERN, **called)
        await gateway.ask(request("resources/read", uri="file:///a"), mcp_protocol_version=MODERN, **read)
        await gateway.ask(request(), mcp_protocol_version=MODERN)  # whose server says itself that one is missing
        seen = [
            (it.header("mcp-method"), it.header("mcp-name"), it.header("mcp-param-place")) for it in upstream.requests
        ]
        assert seen == [
            ("tools/call", "=?base64?bGVzZW4tw7w=?=", "Ulm"),
            ("resources/read", "file:///a", None),
            (None, None, None),
        ]
        response = {"jsonrpc": "2.0", "id": 7, "result": {}}
        assert (await gateway.ask(response, mcp_protocol_version=MODERN)).status == 202
        assert upstream.requests[-1].header("mcp-method") is None


async def test_modern_headers_that_say_something_else_are_refused() -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        for headers in (
            {"mcp_method": "tools/list", "mcp_name": "read"},
            {"mcp_method": "tools/call", "mcp_name": "write"},
            {"mcp_method": "tools/call", "mcp_name": "=?base64?%?="},
            {"mcp_method": "tools/call", "mcp_name": "=?base64?é?="},
        ):
            answer = await gateway.ask(call("read"), mcp_protocol_version=MODERN, **headers)
            assert (answer.status, answer.code, answer.json["id"]) == (400, -32020, 1)
        nameless = json.dumps(call("read")).replace("read", "\\ud800").encode()
        assert (await gateway.ask(nameless, mcp_protocol_version=MODERN)).code == -32020
        assert not upstream.requests
        same = {"mcp_method": "tools/call", "mcp_name": "=?base64?cmVhZA==?="}
        assert (await gateway.ask(call("read"), mcp_protocol_version=MODERN, **same)).status == 200


@pytest.mark.parametrize("version", [{}, {"mcp_protocol_version": LEGACY}], ids=["none", LEGACY])
async def test_the_legacy_protocol_has_no_headers_of_the_message(version: dict[str, str]) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        await gateway.ask(call("read"), mcp_method="tools/list", mcp_name="write", mcp_param_a="b", **version)
        assert not [
            name for name, _ in upstream.requests[0].headers if name in ("mcp-method", "mcp-name", "mcp-param-a")
        ]


@pytest.mark.parametrize("name", [b"mcp-method", b"mcp-protocol-version", b"mcp-session-id", b"mcp-param-a"])
async def test_a_header_of_the_protocol_that_comes_twice_is_refused(name: bytes) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request(), raw_headers=[(name, b"a"), (name, b"a")])
        assert (answer.status, answer.code) == (400, -32600)
        assert not upstream.requests


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_the_operators_business(status: int, caplog: pytest.LogCaptureFixture) -> None:
    answering = always(status, {"error": "no"}, www_authenticate="Bearer", **JSON)
    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request(request_id="x"))
        assert (answer.status, answer.json["id"], answer.code) == (502, "x", -32603)
        assert answer.said == "the server behind 'tickets' refused the credentials of this gateway; tell its operator"
        assert "www-authenticate" not in answer.headers
        warnings = [it.getMessage() for it in caplog.records if it.levelno == logging.WARNING]
        assert warnings == [f"upstream tickets: it answered with HTTP {status}: are its headers right?"]
        use = gateway.usage.uses[ALIAS, "ada"]
        told = f"it answered with HTTP {status}: are its headers right?"  # which is the operator's business
        assert (use.calls, use.errors, use.open_calls, use.last_error) == (1, 1, 0, told)


async def test_trouble_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with an_upstream(always(500)) as upstream, a_gateway(upstream) as gateway:
        for _ in range(5):
            assert (await gateway.ask(request())).status == 502
        assert [it.levelno for it in caplog.records].count(logging.WARNING) == 1


@pytest.mark.parametrize("to", ["/elsewhere", "http://127.0.0.1:1/mcp", "http://169.254.169.254/", "//x\u0085y"])
async def test_a_redirect_is_not_followed(to: str, caplog: pytest.LogCaptureFixture) -> None:
    async with an_upstream(always(307, location=to)) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.code) == (502, -32603)
        assert "location" not in answer.headers
        assert to not in answer.said
        assert len(upstream.requests) == 1
        assert f"points to {ascii(to)[1:-1]}" in caplog.text


@pytest.mark.parametrize("status", [400, 404, 405, 406, 409, 413, 415, 422, 429])
async def test_an_explanation_reaches_the_client(status: int) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32022, "message": "ü"}}
    more = {"allow": "POST", "retry_after": "7", "x_more": "no", "cache_control": "public"}
    async with an_upstream(always(status, body, **JSON, **more)) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.json) == (status, body)
        del answer.headers["content-length"]
        assert answer.headers == JSON | {"cache-control": "no-store", "allow": "POST", "retry-after": "7"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>at /srv/secret</html>", "text/html"),
        (b"at /srv/secret", "application/json"),
        (b"[" * 50_000, "application/json"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}', "application/json"),
        (b'["/srv/secret"]', "application/json"),
        (b'{"a": "\\ud800"}', "application/json"),
        (b'{"a": "' + b"a" * 70_000 + b'"}', "application/json"),
    ],
)
async def test_what_explains_nothing_is_explained_by_us(body: bytes, content_type: str) -> None:
    async with an_upstream(always(404, body, content_type=content_type)) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request(request_id=9))
        assert (answer.status, answer.json["id"]) == (404, 9)
        assert answer.said == "the server behind 'tickets' answered with HTTP 404 and did not say why"


@pytest.mark.parametrize("status", [201, 206, 402, 418, 500, 502, 503, 599])
async def test_other_statuses_are_not_passed_on(status: int) -> None:
    async with an_upstream(always(status, {"at": "/srv"}, **JSON)) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.code) == (502, -32603)
        assert "/srv" not in answer.said


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/html"}, JSON | {"content_encoding": "gzip"}])
async def test_what_clients_cannot_read_is_not_passed_on(headers: dict[str, str]) -> None:
    async with an_upstream(always(200, result(), **headers)) as upstream, a_gateway(upstream) as gateway:
        assert (await gateway.ask(request())).status == 502


async def test_a_session_is_deleted_and_a_stream_refused_as_the_server_says() -> None:
    async def answering(asked: Request, connection: Connection) -> None:
        if asked.method == "DELETE":
            await connection.answer(200, b"gone", content_type="text/plain")
        else:
            await connection.answer(405, allow="POST")

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        deleted = await gateway.ask(method="DELETE")
        assert (deleted.status, deleted.body, deleted.headers) == (200, b"", {})
        refused = await gateway.ask(method="GET")
        assert (refused.status, refused.headers["allow"], refused.json["id"]) == (405, "POST", None)
        assert [(it.method, it.body) for it in upstream.requests] == [("DELETE", b""), ("GET", b"")]


async def test_no_proxy_of_the_environment_is_asked() -> None:
    async with an_upstream(pong) as upstream, an_upstream(pong) as proxy:
        code = (
            "import anyio, sys\n"
            "from tests.server.gateway.remotes.remote_upstreams import a_gateway, request\n"
            "async def main():\n"
            "    async with a_gateway(sys.argv[1]) as gateway:\n"
            "        print((await gateway.ask(request())).status)\n"
            "anyio.run(main)\n"
        )
        place = proxy.url.removesuffix("/mcp")
        environment = {"HTTP_PROXY": place, "http_proxy": place, "ALL_PROXY": place}
        done = await anyio.run_process(
            [sys.executable, "-c", code, upstream.url], env=environment, stderr=subprocess.PIPE
        )
        assert done.stdout == b"200\n"
        assert (len(upstream.requests), len(proxy.requests)) == (1, 0)
