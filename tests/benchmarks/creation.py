"""Creating a key: that nothing in it takes time but its hash."""

from collections.abc import Sequence

import bcrypt

from mcp_keys_server import RequestedGrant
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.keys_at_hand import opened_ring, user_name
from tests.benchmarks.rounds import run_rounds
from tests.benchmarks.stopwatch import PASSWORD, timed


def creation(bench: Bench) -> Sequence[Row]:
    cost = bench.effort.bcrypt_cost
    with opened_ring(bench.folder / "keys.db", bcrypt_cost=cost) as opened:
        opened.add_keys(1)
        administration = opened.ring.administration

        async def create() -> None:
            await administration.create_key(user_name(0), name="Benchmark", requested=RequestedGrant())

        contestants = {
            "ours": timed(lambda: opened.runner.run(create()), calls=1),
            "bcrypt": timed(lambda: bcrypt.hashpw(PASSWORD, bcrypt.gensalt(cost)), calls=1),
        }
        rounds = run_rounds("creation", bench, contestants)
    bare = "one bare bcrypt.hashpw at the same cost"
    return [rounds.compare("a key created", Quantity.CALL, "ours", "bcrypt", compared_with=bare, goal=goals.CREATION)]
