"""Very many keys that are cold, and what they leave to those that are warm."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import bcrypt

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.load import Load
from tests.benchmarks.mcp_requests import MODERN
from tests.benchmarks.noop_load import noop_load
from tests.benchmarks.noop_server import COLD_KEYS, WITH_US, WITH_US_COLD
from tests.benchmarks.rounds import Contestant, Figures, run_rounds

KEYS_IN_TURN: Final = 3
"""Keys of a connection: when the first is used again, it is cold again."""
_QUEUED: Final = 3
"""Cold connections for each core, so that none ever waits for the next check."""
_CORES: Final = os.cpu_count() or 1


def storm(bench: Bench) -> Sequence[Row]:
    cost, seconds, warm_users = bench.effort.storm_cost, bench.effort.storm_seconds, bench.effort.connections
    connections = _CORES * _QUEUED
    users = warm_users + connections * KEYS_IN_TURN
    bench.progress.show("cold keys: making them")
    with (
        child("tests.benchmarks.load_generator") as generator,
        child("tests.benchmarks.load_generator") as generator_of_cold,
        # What share of a core it has says nothing beside bcrypt's threads, which take what it leaves.
        noop_load(str(bench.folder / "keys.db"), generator, users=users, cost=cost, way=COLD_KEYS, waits=True) as warm,
    ):
        cold = Load(generator_of_cold, warm.port)
        warm_requests = warm.calls(WITH_US, MODERN)[:warm_users]
        cold_requests = warm.calls(WITH_US_COLD, MODERN)[warm_users:]
        warm_job = warm.job([[one] for one in warm_requests], seconds=seconds)
        cold_job = cold.job([cold_requests[first::connections] for first in range(connections)], seconds=seconds)

        def at_once() -> tuple[Figures, Figures]:
            cold.begin(cold_job)
            figures = warm.run(warm_job)
            return cold.end(), figures

        cold_beside_warm, warm_beside_cold = both(at_once)
        contestants = {
            "bcrypt": bcrypt_on_all_cores(cost, seconds),
            "cold": lambda: cold.run(cold_job),
            "warm": lambda: warm.run(warm_job),
            "cold beside warm": cold_beside_warm,
            "warm beside cold": warm_beside_cold,
        }
        rounds = run_rounds("cold keys", bench, contestants)
    raw = f"bare bcrypt at cost {cost} on {_CORES} cores with nothing else to do"
    none = "the same calls without cold keys"
    rate, p99 = Quantity.RATE, Quantity.P99
    return [
        rounds.compare(
            "cold keys over HTTP: requests", rate, "cold", "bcrypt", compared_with=raw, goal=goals.STORM_ALONE
        ),
        rounds.compare(
            "cold keys beside warm calls: requests",
            rate,
            "cold beside warm",
            "bcrypt",
            compared_with=raw,
            goal=goals.STORM_BESIDE_WARM,
        ),
        rounds.compare(
            "warm calls beside cold keys: requests",
            rate,
            "warm beside cold",
            "warm",
            compared_with=none,
            goal=goals.WARM_BESIDE_STORM,
        ),
        rounds.compare(
            "warm calls beside cold keys: 99th percentile of a request",
            p99,
            "warm beside cold",
            "warm",
            compared_with=none,
            goal=goals.WARM_P99_BESIDE_STORM,
        ),
    ]


def both(measured: Callable[[], tuple[Figures, Figures]]) -> tuple[Contestant, Contestant]:
    """Two contestants that work at once, whichever of them has its turn first."""
    waiting: list[Figures | None] = [None, None]

    def half(this: int) -> Figures:
        mine = waiting[this]
        if mine is not None:
            waiting[this] = None
            return mine
        measured_now = measured()
        waiting[1 - this] = measured_now[1 - this]
        return measured_now[this]

    return lambda: half(0), lambda: half(1)


def bcrypt_on_all_cores(cost: int, seconds: float) -> Contestant:
    password = b"not a key, but as long as one is: fifty-five characters"
    hashed = bcrypt.hashpw(password, bcrypt.gensalt(cost))

    def check_until(end: float) -> int:
        checks = 0
        while time.perf_counter() < end:
            bcrypt.checkpw(password, hashed)
            checks += 1
        return checks

    def contestant() -> Figures:
        processor, started = time.process_time(), time.perf_counter()
        with ThreadPoolExecutor(_CORES) as threads:
            checks = sum(threads.map(check_until, [started + seconds] * _CORES))
        taken = time.perf_counter() - started
        share = (time.process_time() - processor) / taken / _CORES
        return {Quantity.RATE: checks / taken, Quantity.SHARE: share}

    return contestant
