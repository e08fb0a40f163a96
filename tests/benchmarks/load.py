"""Contestants that answer requests over HTTP."""

from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from tests.benchmarks.child import Child
from tests.benchmarks.figures import Quantity
from tests.benchmarks.load_generator import Job
from tests.benchmarks.mcp_requests import ANSWER
from tests.benchmarks.noop_server import PROCESSOR_TIME
from tests.benchmarks.rounds import Contestant, Figures

if TYPE_CHECKING:
    from tests.benchmarks.outcome import Outcome


class Load:
    """A load generator in front of a server."""

    def __init__(
        self, generator: Child, port: int, *, processor: Callable[[], float] | None = None, waits: bool = False
    ) -> None:
        """Of a server that says how many seconds of processor time it has had, rounds are known in which others had
        them, unless it waits for another process itself.
        """
        self._generator = generator
        self.port = port
        self._processor = processor
        self._waits = waits

    def contestant(self, requests: Sequence[bytes], *, seconds: float, answer: str = ANSWER) -> Contestant:
        """A connection for each of the requests, which is sent again and again."""
        job = self.job([[request] for request in requests], seconds=seconds, answer=answer)
        return lambda: self.run(job)

    def job(
        self, requests: Sequence[Sequence[bytes]], *, seconds: float, status: int = 200, answer: str = ANSWER
    ) -> Job:
        in_turn = [[one.decode("ascii") for one in of_connection] for of_connection in requests]
        return Job(port=self.port, requests=in_turn, seconds=seconds, status=status, answer=answer)

    def run(self, job: Job) -> Figures:
        self.begin(job)
        return self.end()

    def begin(self, job: Job) -> None:
        self._before = self._processor() if self._processor else 0.0
        self._generator.tell(job)

    def end(self) -> Figures:
        outcome: Outcome = self._generator.hear()
        figures = {
            Quantity.RATE: outcome["requests"] / outcome["seconds"],
            Quantity.ALL: outcome["seconds"] * 1e6,
            Quantity.P50: outcome["p50"],
            Quantity.P99: outcome["p99"],
            Quantity.SHARE: 1.0,
        }
        if self._processor:
            processor = self._processor() - self._before
            figures[Quantity.PROCESSOR] = processor * 1e6 / outcome["requests"]
            figures[Quantity.SHARE] = 1.0 if self._waits else processor / outcome["seconds"]
        return figures


def processor_time(port: int) -> Callable[[], float]:
    """What a noop server says of itself."""

    def ask() -> float:
        connection = HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", PROCESSOR_TIME)
            return float(connection.getresponse().read())
        finally:
            connection.close()

    return ask
