"""What reaches an application of a request that is sent byte by byte, and what does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import anyio
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from mcp_keys_server.server.http_protocol import LARGEST_HEAD, MOST_CHUNKS, MOST_FIELDS
from mcp_keys_server.server.http_service import http_server, listen

pytestmark = pytest.mark.anyio
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\nx-remote-user: ada\r\ntransfer-encoding: chunked\r\n\r\n"
MORE_THAN_BUFFERS_HOLD = 50_000_000
BODY = b"5\r\nhello\r\n0\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which fields it sees before and after the body, and the body."""
    if scope["type"] == "http":
        request = Request(scope, receive)
        if request.url.path == "/unread":
            await PlainTextResponse("unread")(scope, receive, send)
            return
        before = request.headers.items()
        with suppress(ClientDisconnect):
            body = await request.body()
            answer = PlainTextResponse(f"{before}\n{Request(scope).headers.items()}\n{body.decode()}")
            await answer(scope, receive, send)


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with closing(listen("127.0.0.1", 0)) as listener:
        server = http_server(echo)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        with anyio.fail_after(60):
            yield reader, writer
        writer.close()
        server.should_exit = True
        await serving


@pytest.mark.parametrize("apart", [False, True])
async def test_what_comes_behind_the_body_is_not_of_the_head(*, apart: bool) -> None:
    async with connection() as (reader, writer):
        for part in (POST, BODY, b"x-remote-user: eve\r\nx-api-key: ", b"mine\r\nx-forwarded-for: 192.0.2.1\r\n\r\n"):
            writer.write(part)
            if apart:
                await writer.drain()
                await asyncio.sleep(0)
        answer = await reader.readuntil(b"hello")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"'x-remote-user', 'ada'") == 2
    for absent in (b"eve", b"x-api-key", b"x-forwarded-for"):
        assert absent not in answer


@pytest.mark.parametrize(
    "endless", [b"5;extension=", b"5\r\nhello\r\n0\r\nx: ", b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * LARGEST_HEAD]
)
async def test_what_never_ends_behind_a_head_is_closed(endless: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(POST + endless)
        reading = asyncio.create_task(reader.read())
        sent = 0
        while not reading.done() and sent <= MORE_THAN_BUFFERS_HOLD:
            with suppress(ConnectionError):
                writer.write(b"y" * 65_536)
                await writer.drain()
            sent += 65_536
            await asyncio.wait([reading], timeout=0)
        assert sent <= MORE_THAN_BUFFERS_HOLD
        with suppress(ConnectionError):
            assert b"HTTP/1.1 200" not in await reading


async def test_a_request_line_and_the_fields_have_a_bound_together() -> None:
    half = LARGEST_HEAD // 2
    for path, field, status in (
        (LARGEST_HEAD - 100, 0, b"200"),
        (LARGEST_HEAD, 0, b"400"),
        (0, LARGEST_HEAD, b"400"),
        (half, half - 100, b"200"),
        (half, half, b"400"),
    ):
        async with connection() as (reader, writer):
            writer.write(b"GET /%s HTTP/1.1\r\nhost: localhost\r\nx: %s\r\n\r\n" % (b"y" * path, b"z" * field))
            assert (await reader.readuntil(b"\r\n")).split()[1] == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"a:\r\n" * (MOST_FIELDS - 1), b"200"),
        (b"a:\r\n" * MOST_FIELDS, b"400"),
        (b"HOST: localhost\r\n", b"400"),
    ],
    ids=["as many as may be", "one more", "another host"],
)
async def test_fields_are_not_too_many_and_name_one_host(fields: bytes, status: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n")
        assert (await reader.readuntil(b"\r\n")).split()[1] == status


async def test_a_host_is_one_in_every_spelling() -> None:
    async with connection() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHOST:  Keys.Example.COM \r\ncontent-length: 0\r\n\r\n")
        assert b"('host', 'keys.example.com')" in await reader.readuntil(b"]")


@pytest.mark.parametrize(("chunks", "status"), [(MOST_CHUNKS - 1, b"200"), (MOST_CHUNKS, b"400")])
async def test_a_body_comes_in_chunks_that_are_not_too_many(chunks: int, status: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(POST + b"1\r\na\r\n" * chunks + b"0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).split()[1] == status


async def test_who_has_an_answer_gets_no_other_for_what_is_wrong_with_the_rest() -> None:
    async with connection() as (reader, writer):
        writer.write(POST.replace(b"POST /", b"POST /unread"))
        answer = await reader.readuntil(b"unread")
        writer.write(b"1\r\na\r\n" * (MOST_CHUNKS + 1))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await reader.read() == b""


async def test_a_body_is_as_long_as_it_likes() -> None:
    async with connection() as (reader, writer):
        writer.write(POST + b"".join(b"1000\r\n%s\r\n" % (b"z" * 0x1000) for _ in range(64)) + b"0\r\n\r\n")
        assert (await reader.readuntil(b"z" * 64 * 0x1000)).startswith(b"HTTP/1.1 200 ")
