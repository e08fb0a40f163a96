"""Clients that are slower than they may be; tests/floods has them by the thousand, before the real program."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import anyio
import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server.server.http_protocol import HttpProtocol, Owed
from mcp_keys_server.server.http_service import http_server, listen
from mcp_keys_server.server.slow_clients import MOST_DROPPED, MOST_LOOKED_AT, SlowClients

pytestmark = pytest.mark.anyio

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
NO_BODY: Message = {"type": "http.response.body", "body": b""}
HURRIED = dict.fromkeys(Owed, 0.5)
GET = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
TOLD = b"HTTP/1.1 408 Request Timeout\r\n"
MUCH = b"x" * 8_000_000
"""More than all buffers between a server and its client hold."""


@dataclass
class Application:
    """By path: one that reads what is sent, one that refuses it unread, one that streams, and one that waits."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    ended: int = 0
    saw_the_client_go: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.begun += 1
        try:
            await self._answer(scope["path"], receive, send)
        finally:
            self.ended += 1

    async def _answer(self, path: str, receive: Receive, send: Send) -> None:
        match path:
            case "/refuses":
                pass
            case "/streams":
                await send(START)
                await self._until_gone(receive)
                return
            case "/floods":
                await send(START)
                for _ in range(100):
                    await send({"type": "http.response.body", "body": MUCH, "more_body": True})
            case "/much":
                await send(START)
                await send({"type": "http.response.body", "body": MUCH})
                return
            case "/waits":
                await self.go_on.wait()
            case _:
                while (message := await receive())["type"] == "http.request" and message["more_body"]:
                    pass
        await send(START)
        await send(NO_BODY)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.saw_the_client_go += 1


@dataclass
class Site:
    application: Application
    server: uvicorn.Server
    port: int

    async def connect(self, sent: bytes = b"", *, room: int = 0) -> socket.socket:
        client = socket.socket()
        if room:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.setblocking(False)  # noqa: FBT003 - its only way
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", self.port))
        await loop.sock_sendall(client, sent)
        return client

    async def until_connections(self, number: int) -> None:
        with anyio.fail_after(20):
            while len(self.server.server_state.connections) != number:
                await asyncio.sleep(0.01)

    async def until_ended(self, number: int) -> None:
        with anyio.fail_after(20):
            while self.application.ended < number:
                await asyncio.sleep(0.01)

    async def sent_and_received(self, sent: Mapping[str, bytes]) -> dict[str, bytes]:
        """What each of these got until its connection was closed, all sent at the same time."""
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(await self.connect(each))) for each in sent.values()]
            return dict(zip(sent, await asyncio.gather(*map(received, clients)), strict=True))

    async def until_looked_at(self) -> None:
        """Until whoever would be dropped now is."""
        with closing(await self.connect()) as silent:
            assert await received(silent) == b""


@asynccontextmanager
async def site(patience: Mapping[Owed, float] = HURRIED) -> AsyncIterator[Site]:
    application = Application()
    with closing(listen("127.0.0.1", 0)) as listener:
        server = http_server(application, patience)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Site(application, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            application.go_on.set()
            await serving


async def received(client: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    loop = asyncio.get_running_loop()
    got = b""
    with anyio.fail_after(20), suppress(ConnectionError):
        while part := await loop.sock_recv(client, 65_536):
            got += part
    return got


async def test_of_very_many_a_few_are_dropped_at_a_turn() -> None:
    async with site() as at:
        with ExitStack() as stack:
            for _ in range(10 * MOST_DROPPED):
                stack.enter_context(closing(await at.connect()))
            await at.until_connections(10 * MOST_DROPPED)
            left = [10 * MOST_DROPPED]
            with anyio.fail_after(20):
                while left[-1]:
                    await asyncio.sleep(0)
                    left.append(len(at.server.server_state.connections))
    assert max(before - after for before, after in pairwise(left)) <= MOST_DROPPED


class Quiet(HttpProtocol):
    """A connection that owes nothing, and notes that it was looked at."""

    def __init__(self, looked_at: list[int]) -> None:
        self._looked_at = looked_at

    def owed(self) -> Iterator[tuple[Owed, int]]:
        self._looked_at.append(1)
        return iter(())


async def test_of_very_many_some_are_looked_at_at_a_turn() -> None:
    looked_at = list[int]()
    connections = [Quiet(looked_at) for _ in range(5 * MOST_LOOKED_AT)]
    looking = asyncio.create_task(SlowClients(connections, HURRIED).drop())
    seen = [0]
    while not looking.done():
        await asyncio.sleep(0)
        seen.append(len(looked_at))
    assert seen[-1] == len(connections)
    assert max(after - before for before, after in pairwise(seen)) <= MOST_LOOKED_AT


UNFINISHED = {
    "nothing": (b"", b""),
    "empty lines": (b"\r\n\r\n", b""),
    "a part of the request line": (b"GET /", TOLD),
    "a part of the headers": (b"GET / HTTP/1.1\r\nhost: x\r\n", TOLD),
    "a part of the body": (POST % b"/" + b"12345", TOLD),
    "a part of a body in parts": (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12", TOLD),
}


async def test_who_does_not_finish_a_request_is_dropped_and_told() -> None:
    async with site() as here:
        for what, got in (await here.sent_and_received({what: sent for what, (sent, _) in UNFINISHED.items()})).items():
            answer = UNFINISHED[what][1]
            assert got.startswith(answer), what
            assert bool(got) == bool(answer), what
        await here.until_connections(0)
        assert here.application.ended == here.application.begun
    assert not here.server.server_state.tasks


AFTER_ANOTHER = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "a part of the headers": b"GET / HTTP/1.1\r\n",
    "a part of the body": POST % b"/",
}


async def test_so_is_who_does_not_finish_the_next_one() -> None:
    async with site() as here:
        sent = {what: GET % b"/" + more for what, more in AFTER_ANOTHER.items()}
        for what, got in (await here.sent_and_received(sent)).items():
            told = [b"408"] if AFTER_ANOTHER[what].strip() else []
            assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200", *told], what


ANSWERED = {
    "refused unread": POST % b"/refuses" + b"12345",
    "a part of the headers after a stream": GET % b"/streams" + b"GET / HTTP/1.1\r\n",
    "a part of the body after a stream": GET % b"/streams" + POST % b"/" + b"12345",
}


async def test_nobody_is_told_amid_another_answer_or_after_it() -> None:
    async with site() as here:
        for what, got in (await here.sent_and_received(ANSWERED)).items():
            assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200"], what
        await here.until_ended(len(ANSWERED))
    assert not here.server.server_state.tasks


async def test_what_comes_bit_by_bit_is_as_slow() -> None:
    async with site() as here:
        clients = [await here.connect(start) for start in (b"", b"GET / HTTP/1.1\r\n", POST % b"/refuses")]

        async def dribble(bits: Mapping[socket.socket, bytes]) -> None:
            loop = asyncio.get_running_loop()
            while True:
                for client, bit in bits.items():
                    with suppress(ConnectionError):
                        await loop.sock_sendall(client, bit)
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble(dict(zip(clients, (b"\r\n", b"x: y\r\n", b"x"), strict=True))))
        await here.until_connections(3)
        await here.until_connections(0)
        dribbling.cancel()
        for client in clients:
            client.close()


async def test_a_client_that_is_kept_waiting_keeps_nobody_waiting() -> None:
    """For an answer, for more of a stream, for leave to send its body, and for the body to be read."""
    asked_first = b"POST /waits HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
    much = b"POST /waits HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(MUCH)
    async with site() as here:
        waiting = [
            await here.connect(sent)
            for sent in (GET % b"/waits", GET % b"/streams", asked_first, GET % b"/waits" + POST % b"/", much)
        ]
        with suppress(BlockingIOError):
            while waiting[-1].send(MUCH):
                await asyncio.sleep(0.01)
        for _ in range(2):
            await here.until_looked_at()
        await here.until_connections(5)
        for client in waiting:
            client.close()


@pytest.mark.parametrize("linux", [True, False])
async def test_who_takes_nothing_of_what_is_sent_is_dropped_and_the_sending_ends(
    monkeypatch: pytest.MonkeyPatch, *, linux: bool
) -> None:
    if not linux:
        monkeypatch.delattr(socket, "TCP_INFO")
    async with site() as here:
        with closing(await here.connect(GET % b"/floods", room=4096)):
            await here.until_connections(1)
            await here.until_connections(0)
            await here.until_ended(1)
    assert not here.server.server_state.tasks


async def test_who_takes_nothing_of_the_last_word_is_dropped_too() -> None:
    """It is answered and closed by then, which waits for all to be taken."""
    async with site() as here:
        with closing(await here.connect(b"GET /much HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", room=4096)):
            await here.until_ended(1)
            await here.until_connections(1)
            await here.until_connections(0)


async def test_who_takes_a_little_now_and_then_is_kept() -> None:
    async with site(HURRIED | {Owed.READING: 3}) as here:
        with closing(await here.connect(GET % b"/floods", room=65_536)) as slow:
            for _ in range(3):
                await here.until_looked_at()
                for _ in range(8):  # more than fits into its buffer, so that there is room for something
                    assert await asyncio.get_running_loop().sock_recv(slow, 65_536)
            await here.until_connections(1)


async def test_of_all_that_are_dropped_at_a_time_there_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as here:
        clients = [await here.connect(b"GET /") for _ in range(20)]
        await here.until_connections(20)
        await here.until_connections(0)
        for client in clients:
            client.close()
    lines = [line for name, _, line in caplog.record_tuples if name == "mcp_keys_server.server.slow_clients"]
    counts = [int(line.removeprefix("dropped: too slow head=")) for line in lines]
    assert sum(counts) == 20
    assert len(counts) <= 2  # some may have come just before a look, and others after it


async def test_whoever_leaves_with_several_requests_open_leaves_none_behind() -> None:
    async with site(dict.fromkeys(Owed, inf)) as here:
        client = await here.connect(GET % b"/" + GET % b"/")
        loop = asyncio.get_running_loop()
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 2:  # which are nobody's concern any more
            got += await loop.sock_recv(client, 65_536)
        await loop.sock_sendall(client, GET % b"/streams" + GET % b"/streams" + GET % b"/streams")
        with anyio.fail_after(60):
            while here.application.begun < 3:
                await asyncio.sleep(0.01)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await here.until_connections(0)
        await here.until_ended(3)
        assert here.application.saw_the_client_go == 1
        assert not here.server.server_state.tasks
