"""``python -m tests.floods --heads 600 --bodies 100000 --keys 5000000``: what the tests send, and very much more of it.

So many heads of each shape are sent to our server and to an application behind the middleware, so many bodies in each
version of the protocol; and so many strings that are nearly a key are verified.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from time import perf_counter_ns

from mcp_keys_server import InvalidApiKeyError
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from tests.databases import SqliteDatabase
from tests.floods.forgeries import malformed
from tests.floods.header_shapes import SHAPES, requests
from tests.floods.json_rpc_bodies import ERAS, bodies, post_all
from tests.floods.raw_http import OURS, UNLIMITED, answers, embedded, most_memory, our_server, status
from tests.world import World, open_world

WARM_UP = 1_000
"""Bodies after which memory is measured."""


async def send_heads(world: World, number: int, seed: int) -> dict[str, object]:
    """How many answers of each status there were at each server, and to which shapes there was a wrong one."""
    _, key = await world.key()
    found: dict[str, object] = {}
    for server in (our_server, embedded):
        counted: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        async with server(world) as port:
            for name, shape in SHAPES.items():
                for got in await answers(port, requests(shape, key, number, path=OURS, seed=seed)):
                    code = status(got)
                    counted[str(code)] += 1
                    wrong[name] += (code == 200) != shape.opens or (code is not None and code >= 500)
        found[server.__name__] = {"statuses": counted, "wrong": +wrong}
    return found


async def send_bodies(world: World, number: int, seed: int) -> dict[str, object]:
    _, key = await world.key()
    app = build_app(world.ring, host_policy(UNLIMITED, port=8000), UNLIMITED, clock=world.clock)
    async with app.router.lifespan_context(app):
        for era in ERAS:
            await post_all(app, key, bodies(WARM_UP, seed=seed + 1), era)
        before = most_memory()
        counted = [await post_all(app, key, bodies(number, seed=seed), era) for era in ERAS]
    return {"statuses": counted, "memory_growth_kib": most_memory() - before}


async def verify_keys(world: World, number: int) -> dict[str, object]:
    """What becomes of strings that are nearly a key, and how long it takes in the process that verifies."""
    _, key = await world.key()
    refused, microseconds, before = Counter[str](), Counter[int](), 0
    for presented in malformed(key.reveal(), number):
        begun = perf_counter_ns()
        try:
            await world.ring.verifier.verify(presented)
        except InvalidApiKeyError as error:
            refused[error.refusal] += 1
        microseconds[(perf_counter_ns() - begun) // 1000] += 1
        if microseconds.total() == WARM_UP:
            before = most_memory()
    return {
        "keys": microseconds.total(),
        "refused": refused,
        "p99_microseconds": _percentile(microseconds, 0.99),
        "memory_growth_kib": most_memory() - before,
    }


def _percentile(counted: Counter[int], part: float) -> int:
    ordered = sorted(counted.items())
    below = accumulate(count for _, count in ordered)
    return next(value for (value, _), so_far in zip(ordered, below, strict=True) if so_far >= part * counted.total())


async def run(heads: int, number: int, keys: int, seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_world(SqliteDatabase(Path(folder) / "keys.db")) as world:
            return {
                "keys": await verify_keys(world, keys),  # first, for its growth to be seen
                "heads": await send_heads(world, heads, seed),
                "bodies": await send_bodies(world, number, seed),
            }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.floods", description=__doc__)
    parser.add_argument("--heads", type=int, default=600)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    # Errors would be seen between the figures.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    sys.stdout.write(json.dumps(asyncio.run(run(given.heads, given.bodies, given.keys, given.seed)), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
