"""Clients by the thousand that send and take as little as they can, before the real program.

``python -m tests.floods.slow_clients --sockets 5000`` shows what becomes of them and, meanwhile, of a client in good
order; the tests do it with a few hundred and a server that has less patience.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mcp_keys_server import RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.server.file_limit import raise_file_limit
from tests.databases import Database, SqliteDatabase
from tests.floods.cores import halves, on, yield_to_others
from tests.floods.scene import NOT_MEASURED
from tests.running_server import ADA, PROGRAM, RunningServer, running_server

if TYPE_CHECKING:
    from tests.floods.good_client import Calls, Job

AT_ONCE: Final = 20
"""Connections that are begun at a time."""
GOOD_USER: Final = "bob"
SMALL: Final = 4096
"""What a client that takes nothing has room for."""
ESTABLISHED, CLOSE_WAIT = "01", "08"


@dataclass(frozen=True)
class Kind:
    """How a client begins, and what it says ever again."""

    begins: bytes
    goes_on: bytes = b""
    takes: bool = True


def kinds(server: RunningServer) -> dict[str, Kind]:
    """Those that do not send what they began to."""
    host = urlsplit(server.base_url).netloc.encode()
    get = b"GET /healthz HTTP/1.1\r\nhost: %s\r\n\r\n" % host
    post = b"POST /u/ada/keys/mcp HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n" % host
    key = b"x-api-key: %s\r\n" % server.first_key.encode()
    form = b"POST /keys/sign-in HTTP/1.1\r\nhost: %s\r\nsec-fetch-site: same-origin\r\n" % host
    form += b"content-type: application/x-www-form-urlencoded\r\n"
    sized = b"content-length: 100000\r\n\r\n{"
    return {
        "silent": Kind(b""),
        "empty lines": Kind(b"", b"\r\n"),
        "request line": Kind(b"POST /", b"u"),
        "headers": Kind(post, b"x: y\r\n"),
        "headers after a request": Kind(get + post, b"x: y\r\n"),
        "body": Kind(post + key + sized, b" "),
        "body in parts": Kind(post + key + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
        "body without a key": Kind(post + sized, b" "),
        "form": Kind(form + sized, b"x"),
    }


def reader(server: RunningServer) -> Kind:
    """One that asks for more than the buffers between it and the server hold, and takes none of it."""
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    head = (
        f"POST /u/ada/keys/mcp HTTP/1.1\r\nhost: {urlsplit(server.base_url).netloc}\r\n"
        f"x-api-key: {server.first_key}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return Kind((head.encode() + body) * 400, takes=False)


@dataclass(eq=False)
class SlowClient(asyncio.Protocol):
    kind: str
    how: Kind
    received: bytearray = field(default_factory=bytearray)
    transport: asyncio.Transport | None = None
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        if not self.how.takes:
            transport.pause_reading()
        transport.write(self.how.begins)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing() and self.how.goes_on:
            self.transport.write(self.how.goes_on)

    def leave(self) -> None:
        if self.transport is not None:
            self.transport.abort()


@dataclass
class Outcome:
    sockets: int = 0
    held: Counter[str] = field(default_factory=Counter)
    """Those that the server still held at the end, by kind."""
    told: Counter[str] = field(default_factory=Counter)
    """Those that were answered with 408."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Until the last one of a kind was dropped."""
    good: list[float] = field(default_factory=list)
    """Seconds that each call of a client in good order took meanwhile."""
    bad: list[str] = field(default_factory=list)
    """What became of those that failed."""


async def good_key(database: Database) -> str:
    """Of a user of their own."""
    async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.add_user(GOOD_USER)
        _, key = await ring.administration.create_key(GOOD_USER, name="x", requested=RequestedGrant())
        return key.reveal()


async def flood(
    server: RunningServer,
    key: str,
    sockets: int,
    *,
    readers: int,
    seconds: float,
    pause: float = 0.5,
    a_second: float = inf,
    yields: bool = False,
) -> Outcome:
    """So many slow clients of all kinds, who come so many a second at the most, for as long as the server holds any of
    them, and for so long at the most. Where the server has cores of its own, they yield to the client in good order.

    The key is that of a client in good order, who is another user: the slow ones hold calls of theirs open.
    """
    outcome = Outcome(sockets)
    known = list(kinds(server).items())
    clients = [SlowClient(*known[number % len(known)]) for number in range(sockets)]
    clients += [SlowClient("reader", reader(server)) for _ in range(readers)]
    port = urlsplit(server.base_url).port
    assert port
    begun = monotonic()
    try:
        async with calling({"port": port, "user": GOOD_USER, "key": key}, outcome):
            if yields:
                yield_to_others()
            for first in range(0, len(clients), AT_ONCE):
                await asyncio.gather(*(connect(client, port) for client in clients[first : first + AT_ONCE]))
                await asyncio.sleep(begun + first / a_second - monotonic())
            while True:
                held = held_by(port)
                outcome.held = Counter(client.kind for client in clients if client.port in held)
                for kind in outcome.held:
                    outcome.seconds[kind] = monotonic() - begun
                if (clients and not outcome.held) or monotonic() - begun > seconds:
                    break
                for client in clients:
                    client.go_on()
                await asyncio.sleep(pause)
    finally:
        for client in clients:
            client.leave()
    outcome.told = Counter(client.kind for client in clients if b"HTTP/1.1 408" in client.received)
    return outcome


@asynccontextmanager
async def calling(job: "Job", outcome: Outcome) -> AsyncIterator[None]:
    """A client in good order is at work in the block; what became of it is in the outcome afterwards."""
    command = (sys.executable, "-m", "tests.floods.good_client")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=os.environ | NOT_MEASURED)
    assert process.stdin
    process.stdin.write(json.dumps(job).encode() + b"\n")
    try:
        yield
    finally:
        process.stdin.close()
        said, _ = await process.communicate()
    calls: Calls = json.loads(said)
    outcome.good, outcome.bad = calls["seconds"], calls["bad"]


async def connect(client: SlowClient, port: int) -> None:
    connection = socket.socket()
    if not client.how.takes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    connection.setblocking(False)  # noqa: FBT003 - its only way
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.create_connection(lambda: client, sock=connection)


def held_by(port: int) -> set[int]:
    """The ports of the clients whose connection some process still has on this port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {
        int(there.partition(":")[2], 16)
        for _, here, there, state, *_ in fields
        if int(here.partition(":")[2], 16) == port and state in {ESTABLISHED, CLOSE_WAIT}
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.floods.slow_clients", description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--a-second", type=float, default=inf, help="How many of them come, at the most.")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--seconds", type=float, default=120, help="How long they are waited for.")
    parser.add_argument("--apart", action="store_true", help="The server has half of the cores, all else the others.")
    given = parser.parse_args(arguments)
    raise_file_limit()
    with ExitStack() as stack:
        database = SqliteDatabase(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "keys.db")
        workers = ("--workers", given.workers)
        serving = running_server(database, *workers, *ADA, program=PROGRAM, MCP_KEYS_CALLS_PER_MINUTE="1000000")
        of_the_server, of_others = halves() if given.apart else ((), ())
        stack.enter_context(on(of_others))
        with on(of_the_server):
            server = stack.enter_context(serving)
        key = asyncio.run(good_key(database))
        idle = asyncio.run(flood(server, key, 0, readers=0, seconds=10))
        coming = flood(
            server,
            key,
            given.sockets,
            readers=given.readers,
            seconds=given.seconds,
            pause=1,
            a_second=given.a_second,
            yields=given.apart,
        )
        outcome = asyncio.run(coming)
        log = server.log.read_text().splitlines()
    sys.stdout.write(json.dumps(report(idle, outcome) | {"log_lines": len(log)}, indent=2) + "\n")
    return 0 if not outcome.held and not outcome.bad else 1


def report(idle: Outcome, outcome: Outcome) -> dict[str, object]:
    def times(seconds: Sequence[float]) -> dict[str, float]:
        if len(seconds) < 2:
            return {}
        return {"median_ms": round(1000 * median(seconds), 1), "p99_ms": round(1000 * quantiles(seconds, n=100)[-1], 1)}

    return {
        "sockets": outcome.sockets,
        "held": outcome.held,
        "told": outcome.told,
        "dropped_within_seconds": {kind: round(seconds, 1) for kind, seconds in outcome.seconds.items()},
        "good_calls": len(outcome.good),
        "failed_calls": outcome.bad,
        "idle": times(idle.good),
        "flooded": times(outcome.good),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
