"""Servers somewhere else, as they are and as they should not be, on this machine; and who asks them through us."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import httpcore2
from starlette.types import Message, Scope

from mcp_keys_server.auth.guard import PRINCIPAL
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.remotes.remote_server import RemoteServer
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.gateway.tool_rules import ToolRules
from mcp_keys_server.server.gateway.usage import UsageBook
from mcp_keys_server.upstreams import RemoteUpstream
from tests.mints import mint_of

ALIAS = "tickets"
A_KEY = mint_of(b"a secret of these tests").mint().reveal()

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def holds_key(text: str) -> bool:
    return A_KEY in text


@dataclass(frozen=True)
class Request:
    """What an upstream has got."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message

    def header(self, name: str) -> str | None:
        values = [value for other, value in self.headers if other == name]
        assert len(values) <= 1
        return values[0] if values else None


class Connection:
    """One on which an upstream answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def begin(self, status: int = 200, /, **headers: str) -> None:
        """A head whose body ends with the connection."""
        lines = [f"HTTP/1.1 {status} Whatever", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def answer(self, status: int = 200, body: object = b"", /, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.begin(status, content_length=str(len(content)), **headers)
        await self.write(content)

    def reset(self) -> None:
        """Break off, so that the other side sees no orderly end."""
        connected: socket.socket = self._writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def until_closed(self) -> None:
        with suppress(OSError):
            while await self._reader.read(65536):
                pass


Answering = Callable[[Request, Connection], Awaitable[None]]


@dataclass
class Upstream:
    """One that answers as it is told, and remembers what it got."""

    url: str = ""
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    hung_up: list[Request] = field(default_factory=list)
    """Whose connections are closed."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [request.message for request in self.requests if request.method == "POST"]


@asynccontextmanager
async def an_upstream(answering: Answering) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        upstream.connections += 1
        request = None
        try:
            request = await _read(reader)
            upstream.requests.append(request)
            await answering(request, Connection(reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            if request is not None:
                upstream.hung_up.append(request)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"http://127.0.0.1:{port}/mcp"
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    length = int(dict(headers).get("content-length", "0"))
    return Request(method, target, headers, await reader.readexactly(length))


class KeptPins:
    """Pins in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.reachable = True

    async def pinned(self, alias: str) -> Mapping[str, str]:
        assert alias == ALIAS
        if not self.reachable:
            raise StoreUnavailableError
        return self.kept

    async def pin(self, alias: str, digests: Mapping[str, str], at: datetime) -> None:
        assert (alias, at.tzinfo) == (ALIAS, UTC)
        self.kept = dict(digests) | self.kept

    async def forget(self, alias: str) -> int:
        raise NotImplementedError(alias)


@dataclass
class Answer:
    """What came of a request, so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def code(self) -> int:
        code: int = self.json["error"]["code"]
        return code

    @property
    def said(self) -> str:
        return str(self.json["error"]["message"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The messages in the events that are complete."""
        datas = [line for line in self.body.decode().split("\n") if line.startswith("data: {")]
        return [json.loads(line.removeprefix("data: ")) for line in datas]


class Open:
    """A request in progress, in a task of its own."""

    def __init__(self, server: RemoteServer, scope: Scope, body: bytes, *, comes_whole: bool) -> None:
        self.answer = Answer()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": not comes_whole})
        self._news = asyncio.Event()
        self.reads = asyncio.Event()
        """Whether the client takes what comes."""
        self.reads.set()
        self.task = asyncio.create_task(server(scope, self._inbox.get, self._take))

    async def _take(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            assert not self.answer.status, "an answer begins once"
            self.answer.status = message["status"]
            self.answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self.answer.body += message.get("body", b"")
            self.answer.complete = not message.get("more_body", False)
        self._news.set()

    def hang_up(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def until(self, seen: Callable[[Answer], bool]) -> Answer:
        with anyio.fail_after(30):
            while not seen(self.answer):
                self._news.clear()
                await self._news.wait()
        return self.answer

    async def end(self) -> Answer:
        with anyio.fail_after(30):
            await self.task
        return self.answer


def principal(user: str = "ada", key_id: str = "key1", tools: frozenset[str] | None = None) -> Principal:
    return Principal(user, key_id, Grant(frozenset(), None, None, tools))


ADA = principal()


@dataclass
class Gateway:
    """One alias, and who asks through it."""

    server: RemoteServer
    usage: UsageBook
    pins: KeptPins

    def open(
        self,
        message: object = None,
        *,
        method: str = "POST",
        who: Principal = ADA,
        raw_headers: Sequence[tuple[bytes, bytes]] = (),
        comes_whole: bool = True,
        **headers: str,
    ) -> Open:
        sent = {"accept": "application/json, text/event-stream"} | ({} if method == "GET" else JSON)
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": f"/u/{who.user_id}/{ALIAS}/mcp",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()] + [*raw_headers],
            PRINCIPAL: who,
        }
        body = message if isinstance(message, bytes) else b"" if message is None else json.dumps(message).encode()
        return Open(self.server, scope, body, comes_whole=comes_whole)

    async def ask(self, message: object = None, **more: Any) -> Answer:  # noqa: ANN401 - what open takes
        return await self.open(message, **more).end()


@asynccontextmanager
async def a_gateway(
    upstream: Upstream | str,
    *,
    network: httpcore2.AsyncNetworkBackend | None = None,
    reserved: Sequence[str] = (),
    **fields: Any,  # noqa: ANN401 - what the operator writes
) -> AsyncIterator[Gateway]:
    url = upstream if isinstance(upstream, str) else upstream.url
    described = RemoteUpstream.model_validate({"url": url, "allow_private": True} | fields)
    usage, pins = UsageBook(), KeptPins()
    rules = ToolRules(ALIAS, described, reserved, pins)
    seal = Seal(ChecksumSecrets([b"shared by all processes"]))
    server = RemoteServer(ALIAS, described, rules, seal, usage, holds_key, network=network)
    try:
        yield Gateway(server, usage, pins)
    finally:
        await server.aclose()


def request(method: str = "ping", request_id: object = 1, **params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(tool: str = "read", /, **arguments: object) -> dict[str, Any]:
    return request("tools/call", name=tool, arguments=arguments)


def result(request_id: object = 1, /, **fields: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "result": fields}


def tool(name: str, description: str = "Reads.") -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


async def pong(asked: Request, connection: Connection) -> None:
    """The friendly answer to anything."""
    message = asked.message if asked.body else {}
    if "id" in message and "method" in message:
        await connection.answer(200, result(message["id"], pong=True), **JSON)
    else:
        await connection.answer(202)


def always(status: int = 200, body: object = b"", /, **headers: str) -> Answering:
    async def answering(_asked: Request, connection: Connection) -> None:
        await connection.answer(status, body, **headers)

    return answering
