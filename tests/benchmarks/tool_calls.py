"""Tool calls over HTTP, with our authentication and without, on one and the same server."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Goal, Quantity, Row
from tests.benchmarks.mcp_requests import LEGACY, MODERN
from tests.benchmarks.noop_load import NoopLoad, noop_load
from tests.benchmarks.noop_server import WITH_US, WITHOUT_US
from tests.benchmarks.rounds import run_rounds
from tests.databases import a_database, has_postgres

_LABELS: Final = {
    Quantity.RATE: "requests",
    Quantity.P99: "99th percentile of a request",
    Quantity.PROCESSOR: "processor time of the server for a request",
}
_GOALS: Final[Mapping[str, Mapping[Quantity, Goal]]] = {
    "sqlite": {Quantity.RATE: goals.TOOL_CALL_SQLITE},
    "postgres": {Quantity.RATE: goals.TOOL_CALL_POSTGRES, Quantity.P99: goals.TOOL_CALL_POSTGRES_P99},
}
_NAMES: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def http(bench: Bench) -> Sequence[Row]:
    kinds = ("sqlite", "postgres") if has_postgres() else ("sqlite",)
    return [row for kind in kinds for row in _rows_of_kind(kind, bench)]


def _rows_of_kind(kind: str, bench: Bench) -> Sequence[Row]:
    users = bench.effort.connections
    folder = bench.folder / kind
    folder.mkdir(mode=0o700)
    with (
        a_database(kind, folder) as database,
        child("tests.benchmarks.load_generator") as generator,
        # It waits for PostgreSQL, so that its share of a core says nothing.
        noop_load(str(database), generator, users=users, waits=kind == "postgres") as load,
    ):
        return [row for era in (MODERN, LEGACY) for row in _rows_of_era(kind, era, load, bench)]


def _rows_of_era(kind: str, era: str, load: NoopLoad, bench: Bench) -> Sequence[Row]:
    seconds = bench.effort.seconds
    what = f"tool call, {era} JSON, {_NAMES[kind]}"
    rounds = run_rounds(
        what,
        bench,
        {"with": load.to(WITH_US, era, seconds=seconds), "without": load.to(WITHOUT_US, era, seconds=seconds)},
    )
    return [
        rounds.compare(
            f"{what}: {label}",
            quantity,
            "with",
            "without",
            compared_with="the same server with a no-op guard",
            goal=_GOALS[kind].get(quantity),
        )
        for quantity, label in _LABELS.items()
    ]
