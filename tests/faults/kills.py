"""Workers and whole servers killed, over and over, while users make, claim, use, rotate and revoke keys over HTTP.

``python -m tests.faults.kills --rounds 60 --operations 40000 --out FILE`` does it for long; the tests do it briefly.
What was acknowledged must hold afterwards, and what was not must open nothing.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

import anyio.to_thread

from tests.faults.history import History
from tests.faults.http_users import HttpUser, first_keys
from tests.faults.judging import judge
from tests.faults.killed_server import KilledServer, Victim, a_killed_server
from tests.faults.report import give, tell
from tests.running_server import PROGRAM

USERS: Final = 16
VICTIMS: Final[tuple[Victim, ...]] = (
    "a worker",
    "a worker",
    "all",
    "a worker",
    "the keeper",
    "a worker",
    "a worker",
    "all",
)


@dataclass
class Outcome:
    history: History = field(default_factory=History)
    killed: Counter[Victim] = field(default_factory=Counter)
    slowest_start_seconds: float = 0.0


async def run(
    database: Path, *, operations: int, rounds: int, seconds: float = inf, program: Sequence[str] = PROGRAM
) -> Outcome:
    """So many rounds, evenly among at least so many acknowledged operations, or fewer of both when the time is over; in
    the end, all are killed once more.
    """
    outcome, until = Outcome(), monotonic() + seconds
    keys = await first_keys(database, USERS, outcome.history)
    with a_killed_server(database, program) as server:
        async with asyncio.TaskGroup() as group:
            users = [HttpUser(user_id, key, lambda: server.port, outcome.history) for user_id, key in keys.items()]
            living = [group.create_task(user.live()) for user in users]
            for number, victim in enumerate(islice(cycle(VICTIMS), rounds), 1):
                if not await _until_acknowledged(outcome.history, operations * number // (rounds + 1), until):
                    break
                await anyio.to_thread.run_sync(_kill, server, victim)
                outcome.killed[victim] += 1
                tell(f"{number} rounds, {outcome.history.acknowledged} acknowledged, {outcome.history.unknown} unknown")
            await _until_acknowledged(outcome.history, operations, until)
            await anyio.to_thread.run_sync(server.end)
            for task in living:
                task.cancel()
        outcome.slowest_start_seconds = round(server.slowest_start, 2)
    return outcome


async def _until_acknowledged(history: History, operations: int, until: float) -> bool:
    """Whether they are, or else the time is over."""
    while history.acknowledged < operations and monotonic() < until:
        await asyncio.sleep(0.005)
    return history.acknowledged >= operations


def _kill(server: KilledServer, victim: Victim) -> None:
    server.kill(victim)
    if victim != "a worker":
        server.start()
        server.wait_for_orphans()


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--operations", type=int, default=40_000, help="How many are acknowledged at the least.")
    parser.add_argument("--seconds", type=float, default=inf, help="When it ends at the latest, and is judged.")
    parser.add_argument("--out", type=Path, help="A file for the figures.")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    database = folder / "keys.db"
    outcome = await run(database, operations=asked.operations, rounds=asked.rounds, seconds=asked.seconds)
    verdict = await judge(database, outcome.history)
    report = {
        "killed": outcome.killed,
        "slowest_start_seconds": outcome.slowest_start_seconds,
        **asdict(verdict),
    }
    if verdict.wrong:
        report["history"] = f"{outcome.history.keep(folder / 'history.json')}"
    else:
        shutil.rmtree(folder)
    give(report, asked.out)
    return int(bool(verdict.wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
