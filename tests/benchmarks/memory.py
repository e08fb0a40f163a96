"""What the memory of proven keys takes."""

import secrets
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import bcrypt

from mcp_keys_server.core.proven_facts import ProvenFacts
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.rounds import Figures, always, run_rounds

_GENERATIONS = 3
"""So that all has been forgotten and filled again, however full what it forgets first is by then."""
_ASKED_AFTER = 100
"""Keys at a time."""


def memory(bench: Bench) -> Sequence[Row]:
    keys = bench.effort.remembered_keys
    contestants = {"ours": lambda: _fill(keys), "byte": always({Quantity.MEMORY: 1.0})}
    # Once, because whatever else goes on, it is always the same.
    once = replace(bench, effort=replace(bench.effort, rounds=1))
    rounds = run_rounds("memory of proven keys", once, contestants)
    what = f"memory for each of {keys:,} proven keys, when it takes most"
    return [rounds.compare(what, Quantity.MEMORY, "ours", "byte", compared_with="one byte", goal=goals.MEMORY)]


def _fill(keys: int) -> Figures:
    form = bcrypt.hashpw(b"any", bcrypt.gensalt(4)).decode("ascii")
    presented = secrets.token_urlsafe(40)
    most = 0
    tracemalloc.start()
    try:
        facts = ProvenFacts(keys)
        for number in range(0, _GENERATIONS * keys, _ASKED_AFTER):
            for key in range(number, number + _ASKED_AFTER):
                # A string of its own, as each row of a database has.
                facts.add(facts.mac(f"{presented}{key}"), f"{form[:-6]}{key:06}")
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return {Quantity.MEMORY: most / keys, Quantity.SHARE: 1.0}
