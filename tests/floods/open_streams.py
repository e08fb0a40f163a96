"""Streams of every kind that are open when their keys end: all of them end, and no others.

``python -m tests.floods.open_streams --streams 1000`` shows how soon; the tests judge by which of them end.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mcp_keys_server import KeyRing, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks.restart import open_files
from tests.cli.upstream_files import configuration
from tests.databases import Database, SqliteDatabase
from tests.floods.talking import Talk, request
from tests.running_server import PROGRAM, RunningServer, run, running_server
from tests.server.gateway.remotes.remote_upstreams import EVENTS, LEGACY, MODERN, Connection, Request, an_upstream

ALIAS: Final = "tickets"
STREAMS_OF_A_KEY: Final = 10
SECONDS_TO_END: Final = 60
_HERE: Final = b": here\n\n"
_STILL_HERE: Final = b": still here\n\n"
_CALL: Final = {"method": "tools/call", "params": {"name": "wait", "arguments": {}}}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_MODERN_CALL: Final = {"method": "tools/call", "params": {**_CALL["params"], "_meta": _META}}  # type: ignore[dict-item]
_LISTEN: Final = {"method": "subscriptions/listen", "params": {"_meta": _META}}
# What is sent, and in which version of the protocol; nothing: the stream of a session.
KINDS: Final = ((None, LEGACY), (_CALL, LEGACY), (_MODERN_CALL, MODERN), (_LISTEN, MODERN))


@dataclass
class Holder:
    """A user with a key, and what they have open with it."""

    user: str
    key: str
    key_id: str
    streams: list["Stream"] = field(default_factory=list)


class Stream:
    def __init__(self, holder: Holder, kind: tuple[object, str]) -> None:
        self._holder = holder
        self._kind = kind
        self.read = b""
        self.ended_at: float | None = None
        self.ending: asyncio.Task[None] | None = None

    async def open(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(self._request())
        while _HERE not in self.read:
            more = await self._reader.read(65536)
            assert more, self.read
            self.read += more
        self.read = b""
        self.ending = asyncio.create_task(self._read_on())

    def close(self) -> None:
        if self.ending is not None:
            self.ending.cancel()
        self._writer.close()

    async def _read_on(self) -> None:
        with suppress(ConnectionError):
            while more := await self._reader.read(65536):
                self.read += more
        self.ended_at = time.monotonic()

    def _request(self) -> bytes:
        asked, era = self._kind
        message = b"" if asked is None else json.dumps({"jsonrpc": "2.0", "id": 1, **dict(asked)}).encode()  # type: ignore[call-overload]
        lines = [
            f"{'POST' if message else 'GET'} /u/{self._holder.user}/{ALIAS}/mcp HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-API-Key: {self._holder.key}",
            f"Accept: {'application/json, ' if message else ''}text/event-stream",
            f"MCP-Protocol-Version: {era}",
        ]
        if message:
            lines += ["Content-Type: application/json", f"Content-Length: {len(message)}"]
        if era == MODERN:
            assert isinstance(asked, dict)
            lines += [f"Mcp-Method: {asked['method']}"]
            lines += ["Mcp-Name: wait"] if asked["method"] == "tools/call" else []
        return "\r\n".join([*lines, "", ""]).encode() + message


@dataclass
class Report:
    open: int = 0
    to_end: int = 0
    never_ended: int = 0
    ended_wrongly: int = 0
    told_after_the_end: int = 0
    not_told: int = 0
    """Of those that were to go on."""
    seconds: list[float] = field(default_factory=list)
    """From the answer that a key has ended to the end of each of its streams; below 0: before that answer."""

    @property
    def is_good(self) -> bool:
        return not (self.never_ended or self.ended_wrongly or self.told_after_the_end or self.not_told)


async def end_while_open(
    database: Database,
    folder: Path,
    *,
    streams: int,
    seconds_to_end: float = SECONDS_TO_END,
    program: Sequence[str] = PROGRAM,
) -> Report:
    """Open so many, end two thirds of their keys in every way, and see which streams end."""
    open_upstream: set[Connection] = set()

    async def answering(_: Request, connection: Connection) -> None:
        await connection.begin(**EVENTS)
        await connection.write(_HERE)
        open_upstream.add(connection)
        await connection.until_closed()
        open_upstream.discard(connection)

    async with open_key_ring(str(database), bcrypt_cost=CHEAPEST_COST) as ring:
        holders = [await _holder(ring, number) for number in range(max(6, streams // STREAMS_OF_A_KEY))]
    async with an_upstream(answering) as upstream:
        described = {ALIAS: {"url": upstream.url, "allow_private": True, "calls_at_once": 10_000}}
        config = configuration(folder, described)
        with running_server(database, "--config", str(config), program=program) as server:
            async with _opened(server, holders, streams):
                report = Report(open=len(open_upstream))
                ended_at = await _end(server, database, holders)
                ending = [holder for holder in holders if holder.user in ended_at]
                tasks = [stream.ending for holder in ending for stream in holder.streams if stream.ending]
                await asyncio.wait(tasks, timeout=seconds_to_end)
                report.to_end = len(tasks)
                for connection in list(open_upstream):
                    with suppress(ConnectionError):
                        await connection.write(_STILL_HERE)
                await _judge(report, holders, ended_at, seconds_to_end)
            async with asyncio.timeout(SECONDS_TO_END):
                while open_upstream:
                    await asyncio.sleep(0.01)
    return report


async def _holder(ring: KeyRing, number: int) -> Holder:
    user = f"user{number}"
    await ring.administration.add_user(user)
    record, key = await ring.administration.create_key(user, name="x", requested=RequestedGrant())
    return Holder(user, key.reveal(), record.key_id)


@asynccontextmanager
async def _opened(server: RunningServer, holders: Sequence[Holder], streams: int) -> AsyncIterator[None]:
    port = urlsplit(server.base_url).port or 0
    for number in range(streams):
        holder = holders[number % len(holders)]
        holder.streams.append(Stream(holder, KINDS[len(holder.streams) % len(KINDS)]))
    opened = [stream for holder in holders for stream in holder.streams]
    try:
        for start in range(0, len(opened), 20):
            await asyncio.gather(*(stream.open(port) for stream in opened[start : start + 20]))
        yield
    finally:
        for stream in opened:
            stream.close()


async def _end(server: RunningServer, database: Database, holders: Sequence[Holder]) -> dict[str, float]:
    """When it was answered that the key of each has ended, by user; every third goes on."""
    ended_at: dict[str, float] = {}
    port = urlsplit(server.base_url).port or 0
    for number, holder in enumerate(holders):
        match number % 6:
            case 0 | 3:
                continue
            case 1 | 4:
                revoke = {"name": "revoke_key", "arguments": {"key_id": holder.key_id}}
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": revoke})
                async with Talk(port) as talk:
                    assert await talk.ask(request(holder.user, holder.key, body=body)) == 200
            case 2:
                await _command(database, "keys", "revoke", holder.key_id, "--yes")
            case _:
                await _command(database, "users", "disable", holder.user)
        ended_at[holder.user] = time.monotonic()
    return ended_at


async def _command(database: Database, *arguments: str) -> None:
    """By another process, which tells the server nothing."""
    done = await asyncio.to_thread(run, *arguments, "--database", str(database))
    assert done.returncode == 0, done.stderr


async def _judge(
    report: Report, holders: Sequence[Holder], ended_at: dict[str, float], seconds_to_be_told: float
) -> None:
    end = time.monotonic() + seconds_to_be_told
    for holder in holders:
        for stream in holder.streams:
            if holder.user in ended_at:
                report.told_after_the_end += _STILL_HERE in stream.read
                if stream.ended_at is None:
                    report.never_ended += 1
                else:
                    report.seconds.append(stream.ended_at - ended_at[holder.user])
                continue
            while _STILL_HERE not in stream.read and stream.ended_at is None and time.monotonic() < end:
                await asyncio.sleep(0.01)
            report.not_told += _STILL_HERE not in stream.read
            report.ended_wrongly += stream.ended_at is not None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.floods.open_streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open_files(4 * asked.streams + 200):
        folder = Path(name)
        database = SqliteDatabase(folder / "data" / "keys.db")
        report = asyncio.run(end_while_open(database, folder, streams=asked.streams))
    late = sorted(report.seconds)
    sys.stdout.write(f"{report.open} open, {report.to_end} of ended keys: {report.never_ended} went on, ")
    sys.stdout.write(f"{report.ended_wrongly} others ended, {report.told_after_the_end} were told more afterwards\n")
    if late:
        p50, p99, most = (1000 * late[int(share * (len(late) - 1))] for share in (0.5, 0.99, 1))
        sys.stdout.write(f"after the answer: p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
