"""Very many users who all come at once after a restart."""

import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.mcp_requests import MODERN
from tests.benchmarks.product import ANSWER, PLAIN_SDK, ProductLoad, added_keys, plain_sdk, product
from tests.benchmarks.rounds import Figures, run_rounds

_SPARE_FILES: Final = 200


def restart(bench: Bench) -> Sequence[Row]:
    """A connection each, all of them open before the clock starts, and one request on each. Their keys were made at
    the cheapest cost of bcrypt, because a proof that is kept takes none; those that have none then take too little.
    """
    users = bench.effort.cold_users
    database = bench.folder / "keys.db"
    bench.progress.show(f"restart: making {users:,} keys")
    keys = added_keys(database, users)
    with (
        open_files(users + _SPARE_FILES),
        child("tests.benchmarks.load_generator") as generator,
        plain_sdk(bench.folder / "plain", generator) as plain,
        ExitStack() as server,
    ):
        running: list[ProductLoad] = []

        def once(load: ProductLoad) -> Figures:
            job = load.job([[request] for request in load.calls(MODERN, keys)], seconds=0, answer=ANSWER)
            # What share of a core it has says nothing: what is new to it is proven on threads.
            return {**load.run(job), Quantity.SHARE: 1.0}

        def cold() -> Figures:
            server.close()
            running[:] = [server.enter_context(product(database, generator))]
            return once(running[0])

        rounds = run_rounds(
            "restart",
            replace(bench, effort=replace(bench.effort, rounds=bench.effort.long_rounds)),
            {"cold": cold, "warm": lambda: once(running[0]), "plain": lambda: once(plain)},
        )
    what = f"{users:,} users at once after a restart, until all are answered"
    return [
        rounds.compare(what, Quantity.ALL, "cold", "warm", compared_with="the same again", goal=goals.RESTART),
        rounds.compare(what, Quantity.ALL, "cold", "plain", compared_with=f"the same tool on {PLAIN_SDK}"),
    ]


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """So many of them are allowed to what is started in the block, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = max(soft, count) if hard == resource.RLIM_INFINITY else min(max(soft, count), hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
