"""A program that keeps some connections busy with a request at a time each, and says how that went.

It reads jobs from standard input, a line of JSON each, and ends with it. It speaks just enough HTTP to know where an
answer ends, because a whole HTTP client takes more time for a request than the server that it is to measure.
"""

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from typing import TypedDict

from tests.benchmarks.outcome import Outcome, outcome

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Job(TypedDict):
    port: int
    requests: list[list[str]]
    """For each connection those that it sends in turn, again and again."""
    seconds: float
    """0: each connection sends one."""
    status: int
    answer: str
    """What stands in every good answer, and in no other."""


class Connection(asyncio.Protocol):
    """Sends its next request as soon as one is answered, until the time is over."""

    def __init__(self, job: Job, requests: Sequence[str]) -> None:
        self._requests = cycle([request.encode("ascii") for request in requests])
        self._status = b"HTTP/1.1 %d " % job["status"]
        self._expected = job["answer"].encode("ascii")
        self.times: list[int] = []
        """Nanoseconds from each request to its answer."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._sent = 0
        self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def start(self, end: int) -> None:
        self._end = end
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_whole(self._answer):
            return
        now = time.perf_counter_ns()
        if not self._answer.startswith(self._status) or self._expected not in self._answer:
            self.connection_lost(RuntimeError(f"a request was not answered as it should be: {self._answer!r}"))
            return
        self.times.append(now - self._sent)
        self._answer = b""
        if now < self._end:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection"))

    def close(self) -> None:
        self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter_ns()
        self._transport.write(next(self._requests))


def _is_whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n") + 4
    if head < 4:
        return False
    length = _LENGTH.search(answer, 0, head)
    if length is None:
        if _CHUNKED.search(answer, 0, head) is None:
            raise RuntimeError("an answer does not say where it ends")
        return answer.endswith(_LAST_CHUNK)  # what the tool says has no line ends
    return len(answer) >= head + int(length[1])


async def keep_busy(job: Job) -> Outcome:
    loop = asyncio.get_running_loop()
    connections = []
    for requests in job["requests"]:
        _, connection = await loop.create_connection(partial(Connection, job, requests), "127.0.0.1", job["port"])
        connections.append(connection)
    gc.collect()
    gc.disable()
    started = time.perf_counter_ns()
    for connection in connections:
        connection.start(started + int(job["seconds"] * 1e9))
    try:
        await asyncio.gather(*(connection.done for connection in connections))
        taken = time.perf_counter_ns() - started
    finally:
        gc.enable()
        for connection in connections:
            connection.close()
    return outcome([one for connection in connections for one in connection.times], taken)


def main() -> None:
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(runner.run(keep_busy(json.loads(line)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
