"""A program that keeps some connections busy with one request each, and says how that went.

It reads one job from standard input, as JSON, and needs nothing but the standard library, so that it is started as a
file, whatever there is to be imported where it runs. It speaks just enough HTTP to know where an answer ends, because a
whole HTTP client takes more time for a request than the server that it is to measure.
"""

import asyncio
import gc
import json
import re
import sys
import time
from functools import partial
from typing import TypedDict

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Job(TypedDict):
    port: int
    requests: list[str]
    """One for each connection."""
    expected: str
    """What stands in every good answer."""
    warm_up_seconds: float
    seconds: float


class Outcome(TypedDict, total=False):
    requests_per_second: float
    median_ms: float
    p99_ms: float
    failure: str
    """Why there is nothing else."""


class UnexpectedAnswerError(Exception):
    """Not what was expected; the message begins with the answer's first line."""


class Connection(asyncio.Protocol):
    """Sends its request again as soon as it is answered, until the time is over and one has counted."""

    def __init__(self, request: bytes, expected: bytes, counts_from: int, end: int) -> None:
        self._request = request
        self._expected = expected
        self._counts_from = counts_from
        self._end = end
        self.times: list[int] = []
        """Nanoseconds from each request to its answer."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_whole(self._answer):
            return
        now = time.perf_counter_ns()
        if not self._answer.startswith(b"HTTP/1.1 200 ") or self._expected not in self._answer:
            first, _, _ = self._answer.partition(b"\r\n")
            self.connection_lost(UnexpectedAnswerError(first.decode("ascii", "replace")))
            return
        if self._sent >= self._counts_from:
            self.times.append(now - self._sent)
        self._answer = b""
        if now < self._end or not self.times:
            self._send()
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection"))

    def close(self) -> None:
        self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter_ns()
        self._transport.write(self._request)


def _is_whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n") + 4
    length = _LENGTH.search(answer, 0, head)
    return length is not None and len(answer) >= head + int(length[1])


async def keep_busy(job: Job) -> Outcome:
    loop = asyncio.get_running_loop()
    gc.disable()
    counts_from = time.perf_counter_ns() + int(job["warm_up_seconds"] * 1e9)
    end = counts_from + int(job["seconds"] * 1e9)
    expected = job["expected"].encode("ascii")
    connections: list[Connection] = []
    try:
        for request in job["requests"]:
            made = partial(Connection, request.encode("ascii"), expected, counts_from, end)
            connections.append((await loop.create_connection(made, "127.0.0.1", job["port"]))[1])
        await asyncio.gather(*(connection.done for connection in connections))
    except (OSError, UnexpectedAnswerError) as error:
        return {"failure": str(error)}
    finally:
        for connection in connections:
            connection.close()
    taken = time.perf_counter_ns() - counts_from
    times = sorted(one for connection in connections for one in connection.times)
    return {
        "requests_per_second": len(times) / taken * 1e9,
        "median_ms": times[len(times) // 2] / 1e6,
        "p99_ms": times[int(len(times) * 0.99)] / 1e6,
    }


if __name__ == "__main__":
    json.dump(asyncio.run(keep_busy(json.load(sys.stdin))), sys.stdout)
