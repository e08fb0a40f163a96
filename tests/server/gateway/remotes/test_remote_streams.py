"""Streams between a client and a server somewhere else: sessions, events, silence and ends."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_keys_server.server.gateway.remotes.remote_server import OTHERS_AT_ONCE
from tests.server.gateway.remotes.remote_upstreams import (
    ADA,
    ALIAS,
    EVENTS,
    JSON,
    LEGACY,
    MODERN,
    Answering,
    Connection,
    Request,
    Upstream,
    a_gateway,
    always,
    an_upstream,
    call,
    pong,
    principal,
    request,
    result,
)

pytestmark = pytest.mark.anyio
BOB = principal("bob", "key2")
ADAS_OTHER = principal("ada", "key3")
LISTING = request("tools/list")
MEGABYTE = 1024 * 1024


async def silence(_asked: Request, connection: Connection) -> None:
    await connection.until_closed()


async def quiet_stream(_asked: Request, connection: Connection) -> None:
    await connection.begin(**EVENTS)
    await connection.write(b": here\n\n")
    await connection.until_closed()


def peak_megabytes() -> int:
    (line,) = [it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


class Peak:
    """The most memory that this process has had since, beyond what it had."""

    def __init__(self) -> None:
        if not Path("/proc/self/clear_refs").exists():
            pytest.skip("only Linux says how much memory a process has had")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        self._before = peak_megabytes()

    @property
    def megabytes(self) -> int:
        return peak_megabytes() - self._before


async def until_hung_up(upstream: Upstream, count: int = 1) -> None:
    with anyio.fail_after(30):
        while len(upstream.hung_up) < count:
            await anyio.sleep(0.01)


async def a_session(asked: Request, connection: Connection) -> None:
    if asked.header("mcp-session-id") is None:
        await connection.answer(200, result(), mcp_session_id="s-1.2", **JSON)
    else:
        await pong(asked, connection)


async def test_a_session_belongs_to_the_key_it_was_opened_with() -> None:
    async with an_upstream(a_session) as upstream, a_gateway(upstream) as gateway:
        opened = await gateway.ask(request("initialize"))
        session = opened.headers["mcp-session-id"]
        assert session != "s-1.2"
        assert (await gateway.ask(request(), mcp_session_id=session)).json["result"] == {"pong": True}
        assert upstream.requests[-1].header("mcp-session-id") == "s-1.2"
        for who, presented in (
            (BOB, session),
            (ADAS_OTHER, session),
            (ADA, "s-1.2"),
            (ADA, session[:-1]),
            (ADA, "\xff"),
        ):
            for method in ("POST", "GET", "DELETE"):
                message = request(request_id=8) if method == "POST" else None
                answer = await gateway.ask(message, method=method, who=who, mcp_session_id=presented)
                assert (answer.status, answer.said) == (404, "Session not found")
                assert answer.json["id"] == (8 if method == "POST" else None)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("session", ["a b", "a\xe9", "", "a" * 1025, "a\r\nmcp-session-id: b"])
async def test_a_session_id_that_is_none_is_not_passed_on(session: str) -> None:
    answering = always(200, result(), mcp_session_id=session, **JSON)
    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        assert (await gateway.ask(request())).status == 502


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_events_of_one_key_are_not_repeated_to_another(method: str) -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        for piece in (b"i", b"d: ", b"17\ndata: {}\n\nid\nid:\nidle: 3\nid:18", b"\r", b"\n\n"):
            await connection.write(piece)
            await asyncio.sleep(0)

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request() if method == "POST" else None, method=method)
        ids = [
            line.partition(": ")[2]
            for line in answer.body.decode().splitlines()
            if line.startswith("id: ") and line[4:]
        ]
        assert len(ids) == 2
        assert [it.endswith(end) for it, end in zip(ids, (".17", ".18"), strict=True)] == [True, True]
        await gateway.ask(method="GET", last_event_id=ids[0])
        assert upstream.requests[-1].header("last-event-id") == "17"
        for who, presented in ((BOB, ids[0]), (ADAS_OTHER, ids[0]), (ADA, "17")):
            refused = await gateway.ask(method="GET", who=who, last_event_id=presented)
            assert (refused.status, refused.code) == (400, -32600)
        assert len(upstream.requests) == 2


async def test_events_come_as_they_are_sent() -> None:
    go_on = asyncio.Event()

    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        await connection.write(b'data: {"first"')
        await go_on.wait()
        await connection.write(b': 1}\n\ndata: {"second": 2}\n\n')

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        waiting = gateway.open(call())
        await waiting.until(lambda answer: answer.body == b'data: {"first"')
        go_on.set()
        answer = await waiting.end()
        assert (answer.events, answer.complete) == ([{"first": 1}, {"second": 2}], True)


async def test_a_large_answer_is_passed_on_as_it_comes() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**JSON)
        for _ in range(256):
            await connection.write(b"1" * MEGABYTE)

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        peak, seen = Peak(), 0
        waiting = gateway.open(call())
        while not waiting.answer.complete:
            await waiting.until(lambda answer: bool(answer.body) or answer.complete)
            seen += len(waiting.answer.body)
            waiting.answer.body = b""
        await waiting.end()
        assert seen == 256 * MEGABYTE
        assert peak.megabytes < 64


async def test_a_client_that_does_not_read_is_not_read_for() -> None:
    sent = 0

    async def answering(_asked: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.begin(**EVENTS)
        for _ in range(256):
            await connection.write(b": " + b"1" * MEGABYTE + b"\n\n")
            sent += 1

    for asked in ({"message": call()}, {"method": "GET"}):
        sent = 0
        async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
            waiting = gateway.open(**asked)
            waiting.reads.clear()
            before = -1
            while sent > before or not upstream.requests:
                before = sent
                await anyio.sleep(0.3)
            assert sent < 32
            waiting.hang_up()
            await waiting.end()
            await until_hung_up(upstream)


@pytest.mark.parametrize("line", [b"data: ", b": ", b"id: ", b""], ids=["data", "a comment", "an id", "a name"])
@pytest.mark.parametrize("message", [LISTING, None], ids=["a listing", "a stream"])
async def test_an_endless_line_costs_little(line: bytes, message: object) -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        await connection.write(line)
        for _ in range(1024):
            await connection.write(b"a" * MEGABYTE)

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        peak = Peak()
        answer = await gateway.ask(message, method="POST" if message else "GET")
        await until_hung_up(upstream)
        assert peak.megabytes < 64
        assert len(answer.body) < 1000
        if message:
            assert [it["error"]["code"] for it in answer.events] == [-32603]


async def test_many_small_lines_cost_little() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        for _ in range(1024):
            await connection.write(b":\n" * (MEGABYTE // 2))

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        peak = Peak()
        await gateway.ask(LISTING)
        assert peak.megabytes < 64


async def test_an_endless_listing_costs_little() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**JSON)
        for _ in range(1024):
            await connection.write(b"1" * MEGABYTE)

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        peak = Peak()
        assert (await gateway.ask(LISTING)).status == 502
        await until_hung_up(upstream)
        assert peak.megabytes < 64


@pytest.mark.parametrize("status", [202, 401, 404, 500])
async def test_an_endless_answer_of_which_nothing_is_passed_on_is_left(status: int) -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(status)
        await connection.until_closed()

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        await gateway.ask(request())
        await until_hung_up(upstream)


async def test_an_endless_id_of_an_event_ends_a_call() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        await connection.write(b"id: " + b"1" * 2000)
        await connection.until_closed()

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(call())
        assert [it["error"]["code"] for it in answer.events] == [-32603]


async def test_an_endless_head_is_not_read() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(1024 * 1024):
            await connection.write(b"x-a: " + b"a" * 1024 + b"\r\n")

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        peak = Peak()
        assert (await gateway.ask(request())).status == 502
        assert peak.megabytes < 64


@pytest.mark.parametrize(
    "said", [b"", b"\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 101 Up\r\n\r\n"]
)
async def test_what_is_no_http_is_not_passed_on(said: bytes) -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.write(said)

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.code) == (502, -32603)


async def test_a_server_that_is_not_there_is_told_of() -> None:
    async with an_upstream(pong) as upstream:
        url = upstream.url
    async with a_gateway(url) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.said) == (502, "the server behind 'tickets' cannot be reached; try again later")


async def test_a_header_that_cannot_be_sent_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async with an_upstream(pong) as upstream, a_gateway(upstream, headers={"x-a": "\N{SNOWMAN}"}) as gateway:
        assert (await gateway.ask(request())).status == 502
        assert "a header for it, as configured, cannot be sent" in caplog.text


async def test_a_connection_that_breaks_is_told_of() -> None:
    seen = asyncio.Event()

    async def answering(asked: Request, connection: Connection) -> None:
        if asked.message["method"] != "ping":
            await connection.begin(**EVENTS)
            await connection.write(b": here\n\n")
            await seen.wait()
        connection.reset()

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.status, answer.said) == (502, "the server behind 'tickets' broke off its answer; try again")
        waiting = gateway.open(call())
        await waiting.until(lambda answer: bool(answer.body))
        seen.set()
        told = await waiting.end()
        assert (told.complete, [it["error"]["message"] for it in told.events]) == (True, [answer.said])


async def test_half_an_answer_is_not_taken_for_the_whole() -> None:
    async def answering(asked: Request, connection: Connection) -> None:
        kind = EVENTS if asked.message["params"].get("events") else JSON
        await connection.begin(content_length="1000", **kind)
        await connection.write(b": here\n\n" if kind is EVENTS else b'{"jsonrpc"')

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        cut = await gateway.ask(request())
        assert (cut.status, cut.complete) == (200, False)
        told = await gateway.ask(request(events=True))
        assert (told.complete, [it["error"]["code"] for it in told.events]) == (True, [-32603])
        assert gateway.usage.uses[ALIAS, "ada"].errors == 2


async def test_half_an_event_is_not_ended_by_another() -> None:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.begin(content_length="1000", **EVENTS)
        await connection.write(b'data: {"half"')

    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        answer = await gateway.ask(request())
        assert (answer.body, answer.complete) == (b'data: {"half"', False)


async def test_a_call_without_a_sign_of_life_is_given_up() -> None:
    async with an_upstream(silence) as upstream, a_gateway(upstream, call_seconds=0.5) as gateway:
        answer = await gateway.ask(request(request_id="x"), mcp_protocol_version=MODERN)
        assert (answer.status, answer.json["id"], answer.code) == (504, "x", -32603)
        await until_hung_up(upstream)
    async with an_upstream(quiet_stream) as upstream, a_gateway(upstream, call_seconds=0.5) as gateway:
        answer = await gateway.ask(call(), mcp_protocol_version=MODERN)
        assert (answer.status, answer.complete) == (200, True)
        assert [(it["id"], it["error"]["code"]) for it in answer.events] == [(1, -32603)]
        await until_hung_up(upstream)


@pytest.mark.parametrize(
    "asked",
    [{"method": "GET"}, {"message": request("subscriptions/listen"), "mcp_protocol_version": MODERN}],
    ids=[LEGACY, MODERN],
)
async def test_a_stream_may_be_silent_and_is_counted_beside_the_calls(asked: dict[str, Any]) -> None:
    async with (
        an_upstream(quiet_stream) as upstream,
        a_gateway(upstream, call_seconds=0.5, calls_at_once=2) as gateway,
    ):
        streams = [gateway.open(**asked) for _ in range(2)]
        for stream in streams:
            await stream.until(lambda answer: bool(answer.body))
        await anyio.sleep(0.7)  # longer than a call may take
        assert not any(stream.task.done() for stream in streams)
        third = await gateway.ask(**asked)
        assert (third.status, third.code, third.headers["retry-after"]) == (429, -32000, "5")
        assert (await gateway.ask(**asked | {"who": BOB, "message": None, "method": "DELETE"})).status == 200
        for stream in streams:
            stream.hang_up()
            await stream.end()
        await until_hung_up(upstream, 3)
        assert not gateway.usage.uses
        again = gateway.open(**asked)
        assert (await again.until(lambda answer: bool(answer.body))).status == 200
        again.hang_up()
        await again.end()


async def test_a_user_has_so_many_calls_open_at_once() -> None:
    async with an_upstream(quiet_stream) as upstream, a_gateway(upstream, calls_at_once=2) as gateway:
        calls = [gateway.open(call()) for _ in range(2)]
        for each in calls:
            await each.until(lambda answer: bool(answer.body))
        refused = await gateway.ask(call())
        assert (refused.status, refused.code, refused.json["id"]) == (429, -32000, 1)
        bobs = gateway.open(call(), who=BOB)
        await bobs.until(lambda answer: bool(answer.body))
        for each in (*calls, bobs):
            each.hang_up()
            await each.end()
        use = gateway.usage.uses[ALIAS, "ada"]
        assert (use.calls, use.open_calls, use.errors) == (2, 0, 0)


@pytest.mark.parametrize(
    "asked", [{"message": {"jsonrpc": "2.0", "method": "notifications/cancelled"}}, {"method": "DELETE"}]
)
async def test_what_is_neither_a_call_nor_a_stream_is_bounded_too(asked: dict[str, Any]) -> None:
    async with an_upstream(silence) as upstream, a_gateway(upstream, calls_at_once=2) as gateway:
        others = [gateway.open(**asked) for _ in range(OTHERS_AT_ONCE)]
        with anyio.fail_after(30):
            while len(upstream.requests) < OTHERS_AT_ONCE:
                await anyio.sleep(0.01)
        assert (await gateway.ask(**asked)).status == 429
        bobs = gateway.open(**asked, who=BOB)
        with anyio.fail_after(30):
            while len(upstream.requests) <= OTHERS_AT_ONCE:
                await anyio.sleep(0.01)
        for each in (*others, bobs):
            each.hang_up()
            await each.end()


async def test_messages_that_never_come_whole_are_bounded() -> None:
    async with an_upstream(silence) as upstream, a_gateway(upstream, calls_at_once=2) as gateway:
        begun = [gateway.open(call(), comes_whole=False) for _ in range(OTHERS_AT_ONCE)]
        assert (await gateway.ask(call())).status == 429
        for each in begun:
            each.hang_up()
            await each.end()
        assert not upstream.requests


@pytest.mark.parametrize("answering", [silence, quiet_stream])
@pytest.mark.parametrize("asked", [{"message": call()}, {"method": "GET"}, {"message": LISTING}])
async def test_when_the_client_leaves_the_server_is_left(answering: Answering, asked: dict[str, Any]) -> None:
    async with an_upstream(answering) as upstream, a_gateway(upstream) as gateway:
        waiting = gateway.open(**asked)
        with anyio.fail_after(30):
            while not upstream.requests:
                await anyio.sleep(0.01)
        waiting.hang_up()
        await waiting.end()
        await until_hung_up(upstream)
        assert len(upstream.requests) == 1  # in the legacy era, leaving is no cancelling


def cancelled(upstream: Upstream) -> list[Any]:
    return [it["params"]["requestId"] for it in upstream.messages if it["method"] == "notifications/cancelled"]


async def test_when_the_key_ends_the_server_is_told_to_cancel() -> None:
    async def answering(asked: Request, connection: Connection) -> None:
        if asked.message["method"] == "initialize":
            await connection.answer(200, result(), mcp_session_id="s1", **JSON)
        else:
            await silence(asked, connection)

    async with an_upstream(answering) as upstream, a_gateway(upstream, headers={"X-Our": "s3cret"}) as gateway:
        session = (await gateway.ask(request("initialize"))).headers["mcp-session-id"]
        waiting = gateway.open(call(), mcp_session_id=session, mcp_protocol_version=LEGACY)
        with anyio.fail_after(30):
            while len(upstream.requests) < 2:
                await anyio.sleep(0.01)
        waiting.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting.end()
        await until_hung_up(upstream, 3)
        assert cancelled(upstream) == [1]
        told = upstream.requests[-1]
        assert (told.header("mcp-session-id"), told.header("mcp-protocol-version")) == ("s1", LEGACY)
        assert told.header("x-our") == "s3cret"


@pytest.mark.parametrize(
    "asked",
    [{"message": call(), "mcp_protocol_version": MODERN}, {"message": request("initialize")}, {"method": "GET"}],
    ids=["a modern call", "the first request", "a stream"],
)
async def test_what_is_not_to_be_cancelled_is_only_left(asked: dict[str, Any]) -> None:
    async with an_upstream(silence) as upstream, a_gateway(upstream) as gateway:
        waiting = gateway.open(**asked)
        with anyio.fail_after(30):
            while not upstream.requests:
                await anyio.sleep(0.01)
        waiting.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting.end()
        await until_hung_up(upstream)
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("answers", [True, False])
async def test_a_call_of_the_legacy_era_that_is_given_up_is_cancelled(*, answers: bool) -> None:
    async def answering(asked: Request, connection: Connection) -> None:
        if asked.message["method"] == "tools/call":
            await silence(asked, connection)
        elif answers:
            await connection.answer(500)

    async with an_upstream(answering) as upstream, a_gateway(upstream, call_seconds=0.5) as gateway:
        answer = await gateway.ask(call())
        assert answer.status == 504
        assert cancelled(upstream) == [1]
