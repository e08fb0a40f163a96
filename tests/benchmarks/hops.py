"""What the hop costs: tool calls directly, through our gateway, and through FastMCP's proxy."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.child import Child, child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.hop_server import BY_PROGRAM, BY_URL, Place
from tests.benchmarks.load_generator import Job
from tests.benchmarks.mcp_requests import ANSWER, LEGACY, MODERN, tool_call
from tests.benchmarks.rounds import Contestant, Figures, run_rounds
from tests.benchmarks.stdio_caller import StdioJob

if TYPE_CHECKING:
    from tests.benchmarks.outcome import Outcome

_SERVER: Final = "tests.benchmarks.hop_server"
_DIRECTLY: Final = {BY_URL: "the same server directly", BY_PROGRAM: "the same program with the SDK's client"}
_PROXIES: Final = {
    "fastmcp": "FastMCP's proxy, without authentication",
    "fastmcp-kept": "the same with one session for all calls",
}
_LABELS: Final = {
    Quantity.RATE: "requests",
    Quantity.P50: "median of a request",
    Quantity.P99: "99th percentile of a request",
}


def gateway(bench: Bench) -> Sequence[Row]:
    with ExitStack() as stack:

        def server(*arguments: str) -> Place:
            place: Place = stack.enter_context(child(_SERVER, *arguments)).hear()
            return place

        upstream = server("upstream")
        url = f"http://127.0.0.1:{upstream['port']}{upstream['paths'][BY_URL]}"
        hops = Hops(stack.enter_context(child("tests.benchmarks.load_generator")), bench.effort.hop_seconds)
        ours = server("gateway", str(bench.folder / "keys.db"), str(bench.folder / "programs"), url)
        theirs = {
            BY_URL: {way: server(way, url) for way in _PROXIES},
            BY_PROGRAM: {"fastmcp": server("fastmcp", BY_PROGRAM)},
        }
        callers = {era: stack.enter_context(child("tests.benchmarks.stdio_caller", era)) for era in (MODERN, LEGACY)}
        rows: list[Row] = []
        for target in (BY_URL, BY_PROGRAM):
            for era in (MODERN, LEGACY):
                for many in (1, bench.effort.connections):
                    contestants = {
                        "directly": hops.over_http(upstream, target, era, many)
                        if target == BY_URL
                        else hops.over_stdio(callers[era], many),
                        "ours": hops.over_http(ours, target, era, many),
                        **{way: hops.over_http(place, target, era, many) for way, place in theirs[target].items()},
                    }
                    rows += _rows(target, era, many, contestants, bench)
        return rows


def _rows(target: str, era: str, many: int, contestants: Mapping[str, Contestant], bench: Bench) -> Sequence[Row]:
    what = f"through the gateway, {target}, {era}, {many} at once"
    rounds = run_rounds(what, bench, contestants)
    rows = [
        rounds.compare(f"{what}: {label}", quantity, "ours", way, compared_with=_PROXIES.get(way) or _DIRECTLY[target])
        for way in contestants
        if way != "ours"
        for quantity, label in _LABELS.items()
    ]
    added = [
        rounds.compare_added(f"{what}: added to the median", "ours", way, "directly", compared_with=name)
        for way, name in _PROXIES.items()
        if way in contestants
    ]
    return rows + added


class Hops:
    """A load generator for whatever way a call takes. Which share of a core somebody had says nothing here: of some
    processes that wait for each other, each has as much as the others leave to do.
    """

    def __init__(self, generator: Child, seconds: float) -> None:
        self._generator = generator
        self._seconds = seconds

    def over_http(self, place: Place, target: str, era: str, connections: int) -> Callable[[], Figures]:
        """A contestant: one user, whose connections share a session where there are sessions."""
        port, path, key = place["port"], place["paths"][target], place["key"]
        session = _session(place, path) if era == LEGACY else None
        requests = [
            [tool_call(era, port=port, path=path, key=key, session=session, request_id=number).decode("ascii")]
            for number in range(1, connections + 1)
        ]
        job = Job(port=port, requests=requests, seconds=self._seconds, status=200, answer=ANSWER)
        return lambda: self._load(self._generator, job)

    def over_stdio(self, caller: Child, callers: int) -> Callable[[], Figures]:
        return lambda: self._load(caller, StdioJob(callers=callers, seconds=self._seconds))

    def _load(self, generator: Child, job: Job | StdioJob) -> Figures:
        generator.tell(job)
        outcome: Outcome = generator.hear()
        return {
            Quantity.RATE: outcome["requests"] / outcome["seconds"],
            Quantity.P50: outcome["p50"],
            Quantity.P99: outcome["p99"],
            Quantity.SHARE: 1.0,
        }


def _session(place: Place, path: str) -> str | None:
    """The id of a new one, if the server has any."""
    who = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
    session = _posted(place, path, None, {"id": 0, "method": "initialize", "params": who})
    if session is not None:
        _posted(place, path, session, {"method": "notifications/initialized"})
    return session


def _posted(place: Place, path: str, session: str | None, message: Mapping[str, object]) -> str | None:
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        **({"authorization": f"Bearer {place['key']}"} if place["key"] else {}),
        **({"mcp-session-id": session, "mcp-protocol-version": LEGACY} if session else {}),
    }
    connection = HTTPConnection("127.0.0.1", place["port"])
    try:
        connection.request("POST", path, json.dumps({"jsonrpc": "2.0", **message}), headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (200, 202), said
        return answer.headers["mcp-session-id"]
    finally:
        connection.close()
