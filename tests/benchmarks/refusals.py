"""Requests with forged keys over HTTP."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.load import Load, processor_time
from tests.benchmarks.mcp_requests import MODERN, tool_call
from tests.benchmarks.refusing_server import BARE, GUARDED
from tests.benchmarks.rounds import Contestant, run_rounds

if TYPE_CHECKING:
    from tests.benchmarks.refusing_server import RefusedThere

_REFUSED: Final = "Too many such requests"


def refusals(bench: Bench) -> Sequence[Row]:
    with (
        child("tests.benchmarks.load_generator") as generator,
        child(
            "tests.benchmarks.refusing_server", str(bench.folder / "keys.db"), str(bench.folder / "refused.log")
        ) as server,
    ):
        there: RefusedThere = server.hear()
        load = Load(generator, there["port"], processor=processor_time(there["port"]))

        def forged(path: str) -> Contestant:
            requests = [tool_call(MODERN, port=there["port"], path=path, key=key) for key in there["forgeries"]]
            in_turn = [requests[first:] + requests[:first] for first in range(bench.effort.connections)]
            return partial(load.run, load.job(in_turn, seconds=bench.effort.seconds, status=429, answer=_REFUSED))

        rounds = run_rounds("forged requests", bench, {"ours": forged(GUARDED), "bare": forged(BARE)})
    return [
        rounds.compare(
            "forged key over HTTP, refused: requests",
            Quantity.RATE,
            "ours",
            "bare",
            compared_with="a bare ASGI program that sends the same refusal",
            goal=goals.FORGED_REQUESTS,
        )
    ]
