"""Whether the time that a refusal takes tells what nobody is to learn: which prefixes and which users there are.

``python -m tests.floods.answer_times --samples 2000`` asks in turn, in an order that is drawn, and holds the times of
the one kind against those of the other (Mann and Whitney's test, two-sided). Two kinds that do differ, because bcrypt
has to look at the one, show that it would be seen.
"""

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import Final
from urllib.parse import urlsplit

from tests.databases import Database, SqliteDatabase
from tests.floods.forgeries import Kind
from tests.floods.scene import SETTINGS, USER, prepare
from tests.floods.talking import Talk, request
from tests.running_server import RunningServer, running_server

FORGERIES: Final = 200
UNHINDERED: Final = SETTINGS | {"MCP_KEYS_FAILURES_PER_MINUTE": "100000000", "MCP_KEYS_LOG_LEVEL": "error"}
DIFFERENT: Final = "checked by bcrypt or not"


@dataclass(frozen=True)
class Pair:
    """Seconds that each answer took, of one kind of request and of the other."""

    one: Sequence[float]
    other: Sequence[float]

    @property
    def effect(self) -> float:
        """By how much the medians differ, as a part of the first."""
        return abs(median(self.other) - median(self.one)) / median(self.one)

    @property
    def chance(self) -> float:
        """How likely such a difference, or a larger one, is where there is none (p)."""
        one, other = len(self.one), len(self.other)
        ranked = sorted([(seconds, True) for seconds in self.one] + [(seconds, False) for seconds in self.other])
        ranks = sum(rank for rank, (_, is_of_one) in enumerate(ranked, 1) if is_of_one)
        u = ranks - one * (one + 1) / 2
        z = (u - one * other / 2) / math.sqrt(one * other * (one + other + 1) / 12)
        return 2 * NormalDist().cdf(-abs(z))


async def compare(database: Database, *, samples: int, bcrypt_cost: int) -> dict[str, Pair]:
    scene = await prepare(database, cold=0, bcrypt_cost=bcrypt_cost)
    unknown, known, checked = (
        scene.loot.forgeries(kind, FORGERIES) for kind in (Kind.RANDOM, Kind.KNOWN_PREFIX, Kind.STOLEN_CHECKSUM)
    )
    kinds = {
        "a prefix that there is or not": (
            [request(USER, key) for key in unknown],
            [request(USER, key) for key in known],
        ),
        "a user that there is or not": ([request(USER, key) for key in known], [request("eve", key) for key in known]),
        DIFFERENT: ([request(USER, key) for key in known], [request(USER, key) for key in checked]),
    }
    with running_server(database, **UNHINDERED, MCP_KEYS_BCRYPT_COST=str(bcrypt_cost)) as server:
        # Bcrypt takes long, and is seen at once.
        return {
            what: await _sampled(server, *pair, samples=min(samples, 100) if what == DIFFERENT else samples)
            for what, pair in kinds.items()
        }


async def _sampled(server: RunningServer, one: Sequence[bytes], other: Sequence[bytes], *, samples: int) -> Pair:
    order = [True, False] * samples
    random.shuffle(order)
    times: Mapping[bool, list[float]] = {True: [], False: []}
    async with Talk(urlsplit(server.base_url).port or 0) as talk:
        for number in range(100):  # until it is as fast as it gets
            await talk.ask(one[number % len(one)])
        for number, is_one in enumerate(order):
            asked = (one if is_one else other)[number % len(one)]
            begun = time.perf_counter()
            assert await talk.ask(asked) == 401
            times[is_one].append(time.perf_counter() - begun)
    return Pair(times[True], times[False])


def table(pairs: Mapping[str, Pair]) -> Iterator[str]:
    yield "| what it might tell | answers of each | medians ms | apart | p |\n| --- | --- | --- | --- | --- |\n"
    for what, pair in pairs.items():
        medians = f"{1000 * median(pair.one):.3f}, {1000 * median(pair.other):.3f}"
        yield f"| {what} | {len(pair.one):,} | {medians} | {pair.effect:.1%} | {pair.chance:.3f} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.floods.answer_times", description=__doc__)
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--bcrypt-cost", type=int, default=12)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "data" / "keys.db")
        pairs = asyncio.run(compare(database, samples=asked.samples, bcrypt_cost=asked.bcrypt_cost))
    sys.stdout.writelines(table(pairs))


if __name__ == "__main__":
    main()
