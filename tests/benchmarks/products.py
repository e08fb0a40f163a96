"""The program as users run it: beside the SDK's server as it comes, and with two workers."""

import os
from collections.abc import Sequence
from typing import Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.mcp_requests import LEGACY, MODERN
from tests.benchmarks.product import ANSWER, PLAIN_SDK, added_keys, plain_sdk, product
from tests.benchmarks.rounds import run_rounds

_GENERATOR: Final = "tests.benchmarks.load_generator"
_CORES: Final = os.cpu_count() or 1
_CORES_TO_JUDGE: Final = 4
"""With fewer, two workers and the load generator do not have one each."""
_GOALS: Final = {LEGACY: goals.PLAIN_SDK_LEGACY, MODERN: goals.PLAIN_SDK_MODERN}


def serve(bench: Bench) -> Sequence[Row]:
    seconds = bench.effort.seconds
    database = bench.folder / "keys.db"
    keys = added_keys(database, bench.effort.connections)
    rows: list[Row] = []
    with (
        child(_GENERATOR) as generator,
        product(database, generator) as ours,
        plain_sdk(bench.folder / "plain", generator) as plain,
    ):
        for era in (MODERN, LEGACY):
            rounds = run_rounds(
                f"serve, {era}",
                bench,
                {
                    "ours": ours.contestant(ours.calls(era, keys), seconds=seconds, answer=ANSWER),
                    "plain": plain.contestant(plain.calls(era, keys), seconds=seconds, answer=ANSWER),
                },
            )
            rows += [
                rounds.compare(
                    f"tool call on serve, authenticated, {era}: {label}",
                    quantity,
                    "ours",
                    "plain",
                    compared_with=f"the same tool on {PLAIN_SDK}",
                    goal=_GOALS[era] if quantity is Quantity.RATE else None,
                )
                for quantity, label in ((Quantity.RATE, "requests"), (Quantity.P99, "99th percentile of a request"))
            ]
    return rows


def workers(bench: Bench) -> Sequence[Row]:
    seconds = bench.effort.seconds
    database = bench.folder / "keys.db"
    keys = added_keys(database, bench.effort.connections)
    with (
        child(_GENERATOR) as generator,
        product(database, generator, "--workers", "1") as one,
        product(database, generator, "--workers", "2") as two,
    ):
        contestants = {
            name: load.contestant(load.calls(MODERN, keys), seconds=seconds, answer=ANSWER)
            for name, load in (("one", one), ("two", two))
        }
        rounds = run_rounds("workers", bench, contestants)
    judged = _CORES >= _CORES_TO_JUDGE
    shared = "" if judged else f" (the client shares the {_CORES} cores with them)"
    return [
        rounds.compare(
            f"tool call on serve, two workers: requests{shared}",
            Quantity.RATE,
            "two",
            "one",
            compared_with="one worker",
            goal=goals.TWO_WORKERS if judged else None,
        )
    ]
