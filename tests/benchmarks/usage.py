"""What it costs to note when keys are used."""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.mcp_requests import MODERN
from tests.benchmarks.noop_load import noop_load
from tests.benchmarks.noop_server import WITH_US, WITHOUT_USAGE
from tests.benchmarks.rounds import run_rounds

_LABELS: Final = {
    Quantity.RATE: "requests",
    Quantity.PROCESSOR: "processor time of the server for a request",
}


def usage(bench: Bench) -> Sequence[Row]:
    """Two servers, so that what one has noted is written while it is measured and not while the other is; for which
    the time has to be longer than that between writes.
    """
    users, seconds = bench.effort.connections, bench.effort.usage_seconds
    with (
        child("tests.benchmarks.load_generator") as generator,
        noop_load(str(bench.folder / "noted.db"), generator, users=users) as noted,
        noop_load(str(bench.folder / "not-noted.db"), generator, users=users, way=WITHOUT_USAGE) as not_noted,
    ):
        contestants = {
            "noted": noted.to(WITH_US, MODERN, seconds=seconds),
            "not noted": not_noted.to(WITH_US, MODERN, seconds=seconds),
        }
        rounds = run_rounds("bookkeeping of uses", bench, contestants)
    return [
        rounds.compare(
            f"tool call, uses of keys noted and written: {label}",
            quantity,
            "noted",
            "not noted",
            compared_with="a server that notes nothing",
            goal=goals.USAGE if quantity is Quantity.RATE else None,
        )
        for quantity, label in _LABELS.items()
    ]
