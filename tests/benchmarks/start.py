"""How long a program over standard input and output takes from its start to its first answer."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.keys_at_hand import opened_ring
from tests.benchmarks.mcp_requests import MODERN, message
from tests.benchmarks.noop_tool import PROGRAM
from tests.benchmarks.rounds import Contestant, Figures, run_rounds
from tests.running_server import PROGRAM as OURS
from tests.running_server import environment

_ROOT: Final = Path(__file__).parents[2]
_FIRST: Final = message(MODERN, "tools/list") + "\n"


def stdio(bench: Bench) -> Sequence[Row]:
    """The first request is ``tools/list`` of 2026-07-28, which needs no other before it."""
    cost = bench.effort.bcrypt_cost
    compiled = compiled_in(bench.folder / "compiled")
    contestants = {
        "ours": first_answer([*OURS, "stdio"], our_environment(bench.folder / "cheap.db", CHEAPEST_COST) | compiled),
        "ours at full cost": first_answer([*OURS, "stdio"], our_environment(bench.folder / "keys.db", cost) | compiled),
        "trivial": first_answer(PROGRAM, environment() | compiled),
    }
    rounds = run_rounds("start", bench, contestants)
    trivial = "a server of the SDK that does nothing"
    what = "stdio, from the start to the answer to tools/list"
    return [
        rounds.compare(
            f"{what}, the key at the cheapest bcrypt cost",
            Quantity.CALL,
            "ours",
            "trivial",
            compared_with=trivial,
            goal=goals.STDIO_START,
        ),
        rounds.compare(
            f"{what}, the key at cost {cost}", Quantity.CALL, "ours at full cost", "trivial", compared_with=trivial
        ),
    ]


def compiled_in(folder: Path) -> dict[str, str]:
    """The environment in which every module is compiled once, as it is when it is installed.

    Otherwise, where Python is told to write nothing beside a source, ours alone would be compiled at every start.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)}


def our_environment(database: Path, cost: int) -> dict[str, str]:
    with opened_ring(database, bcrypt_cost=cost) as opened:
        (key,) = opened.add_keys(1)
    return environment(MCP_KEYS_DATABASE=str(database), MCP_KEYS_BCRYPT_COST=str(cost), MCP_KEYS_API_KEY=key.reveal())


def first_answer(command: Sequence[str], environment: Mapping[str, str]) -> Contestant:
    def contestant() -> Figures:
        started = time.perf_counter()
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(_FIRST)
            process.stdin.flush()
            line = process.stdout.readline()
            taken = time.perf_counter() - started
            assert json.loads(line)["result"]["tools"], f"{command!r} answered {line!r}"
            process.stdin.close()
            process.stdout.read()
        # What share of a core it had is not known: it also waits for the disk.
        return {Quantity.CALL: taken * 1e6, Quantity.SHARE: 1.0}

    return contestant
