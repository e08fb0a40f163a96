"""Tool calls over HTTP, with our authentication and without, on one and the same server."""

from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from mcp_keys_server.core.grant import KEYS_ALIAS
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import Child, child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.load_generator import Job
from tests.benchmarks.mcp_requests import LEGACY, MODERN, tool_call
from tests.benchmarks.noop_server import PROCESSOR_TIME, WITH_US, WITHOUT_US, Announcement
from tests.benchmarks.rounds import Figures, run_rounds

if TYPE_CHECKING:
    from tests.benchmarks.outcome import Outcome

_LABELS = {
    Quantity.RATE: "requests",
    Quantity.P99: "99th percentile of a request",
    Quantity.PROCESSOR: "processor time of the server for a request",
}


def http(bench: Bench) -> Sequence[Row]:
    database = bench.folder / "keys.db"
    with (
        child("tests.benchmarks.noop_server", str(database), str(bench.effort.connections)) as server,
        child("tests.benchmarks.load_generator") as generator,
    ):
        calls = ToolCalls(server.hear(), generator, bench.effort.seconds)
        return [row for era in (MODERN, LEGACY) for row in _rows_of_era(era, calls, bench)]


def _rows_of_era(era: str, calls: "ToolCalls", bench: Bench) -> Sequence[Row]:
    rounds = run_rounds(
        f"tool calls, {era}",
        bench,
        {"with": calls.to(WITH_US, era), "without": calls.to(WITHOUT_US, era)},
    )
    return [
        rounds.compare(
            f"tool call, {era} JSON: {label}",
            quantity,
            "with",
            "without",
            compared_with="the same server with a no-op guard",
        )
        for quantity, label in _LABELS.items()
    ]


class ToolCalls:
    """A running server with a load generator in front of it."""

    def __init__(self, announced: Announcement, generator: Child, seconds: float) -> None:
        self._announced = announced
        self._generator = generator
        self._seconds = seconds

    def to(self, mount: str, era: str) -> Callable[[], Figures]:
        """A contestant: all users at once, a connection each, behind this mount."""
        port = self._announced["port"]
        requests = [
            tool_call(era, port=port, path=f"{mount}/{user_id}/{KEYS_ALIAS}/mcp", key=key).decode("ascii")
            for user_id, key in self._announced["keys"].items()
        ]
        return lambda: self._load(Job(port=port, requests=requests, seconds=self._seconds))

    def _load(self, job: Job) -> Figures:
        before = self._server_seconds()
        self._generator.tell(job)
        outcome: Outcome = self._generator.hear()
        processor = self._server_seconds() - before
        return {
            Quantity.RATE: outcome["requests"] / outcome["seconds"],
            Quantity.P99: outcome["p99"],
            Quantity.PROCESSOR: processor * 1e6 / outcome["requests"],
            Quantity.SHARE: processor / outcome["seconds"],
        }

    def _server_seconds(self) -> float:
        connection = HTTPConnection("127.0.0.1", self._announced["port"])
        try:
            connection.request("GET", PROCESSOR_TIME)
            return float(connection.getresponse().read())
        finally:
            connection.close()
