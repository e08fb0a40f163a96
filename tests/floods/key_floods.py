"""Very many requests with keys that are not good, and what becomes of those whose keys are.

``python -m tests.floods.key_floods --connections 30 300 1000 --seconds 20`` shows how long people wait beside each kind
of flood; the tests judge by who is let in, and by no clock.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.benchmarks.restart import open_files
from tests.databases import SqliteDatabase
from tests.floods.bcrypt_threads import processor_seconds
from tests.floods.cores import halves, on
from tests.floods.forgeries import NEVER_CHECKED, Kind
from tests.floods.scene import NOT_MEASURED, SETTINGS, USER, Scene, prepare
from tests.floods.talking import Talk, request
from tests.running_server import RunningServer, running_server

if TYPE_CHECKING:
    from tests.floods.flooding import Answered, Job

FORGERIES: Final = 2_000
SECONDS_TO_ANSWER: Final = 120
CALLS_BEFORE: Final = 500
PAUSE: Final = 0.01
"""Between two requests of somebody whose key is good."""
ELSEWHERE: Final = "127.0.0.2"
"""Another network than that of the flood."""


@dataclass
class Times:
    """How the requests of some people were answered, one after the other."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    async def ask(self, talk: Talk, key: str) -> None:
        begun = time.perf_counter()
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            self.statuses[await talk.ask(request(USER, key))] += 1
        self.seconds.append(time.perf_counter() - begun)

    @property
    def are_all_let_in(self) -> bool:
        return self.statuses.keys() == {200}

    def milliseconds(self, percentile: int) -> float:
        return 1000 * quantiles(self.seconds, n=100, method="inclusive")[percentile - 1]


@dataclass
class Report:
    kind: Kind
    connections: int
    idle: Times = field(default_factory=Times)
    warm: Times = field(default_factory=Times)
    victim: Times = field(default_factory=Times)
    cold: Times = field(default_factory=Times)
    """From the network of the flood and from another one in turn."""
    afterwards: Times = field(default_factory=Times)
    forged: Counter[int] = field(default_factory=Counter)
    forged_seconds: float = 0.0
    bcrypt_seconds: float = 0.0

    def complaints(self) -> list[str]:
        refusals = {401, 429} if self.kind in NEVER_CHECKED else {401, 429, 503}
        found = [] if self.forged.keys() <= refusals else [f"the flood was answered with {dict(self.forged)}"]
        found += [] if self.forged else ["there was no flood"]
        for who in ("idle", "warm", "victim", "cold", "afterwards"):
            times: Times = getattr(self, who)
            if not times.are_all_let_in:
                found.append(f"{who}: {dict(times.statuses)}")
        return found


async def flood(
    server: RunningServer,
    scene: Scene,
    kind: Kind,
    *,
    connections: int,
    seconds: float,
    at_least: int = 1,
    before: int = 1,
    yields: bool = False,
) -> Report:
    """What happens beside a flood of this kind, and to so many calls ``before`` it. The scene's last cold key is used
    after it.

    Where the server has cores of its own, the flood yields to those who are measured, who would else wait for it.
    """
    report, port = Report(kind, connections), urlsplit(server.base_url).port or 0
    async with Talk(port) as warm, Talk(port) as victim:
        for key in scene.warm:
            await Times().ask(warm, key)
        await Times().ask(victim, scene.victim)
        # As they ask beside it, which takes longer than one after the other without a pause.
        async with asyncio.TaskGroup() as people:
            people.create_task(_ask(report.idle, warm, scene.warm, before))
            people.create_task(_ask(Times(), victim, [scene.victim], before))
        bcrypt_before = processor_seconds(server.process.pid)
        job: Job = {
            "port": port,
            "user": USER,
            "keys": scene.loot.forgeries(kind, FORGERIES),
            "connections": connections,
            "seconds": seconds,
            "at_least": at_least,
            "yields": yields,
        }
        async with _flooding(job) as answered, asyncio.TaskGroup() as people:
            people.create_task(_keep_asking(report.warm, warm, scene.warm, answered))
            people.create_task(_keep_asking(report.victim, victim, [scene.victim], answered))
            people.create_task(_first_uses(report.cold, port, scene.cold[:-1], seconds, answered))
        said = answered.result()
        report.forged = Counter({int(status): count for status, count in said["statuses"].items()})
        report.forged_seconds = said["seconds"]
        report.bcrypt_seconds = processor_seconds(server.process.pid) - bcrypt_before
    async with Talk(port) as afterwards:
        for key in (*scene.warm, scene.victim, scene.cold[-1]):
            await report.afterwards.ask(afterwards, key)
    return report


@asynccontextmanager
async def _flooding(job: "Job") -> AsyncIterator["asyncio.Task[Answered]"]:
    """What came of it, when it is over; in the block it has begun."""
    command = (sys.executable, "-m", "tests.floods.flooding")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=os.environ | NOT_MEASURED)
    assert process.stdin
    assert process.stdout
    stdout = process.stdout
    process.stdin.write(json.dumps(job).encode() + b"\n")
    assert await stdout.readline() == b"begun\n"

    async def end() -> "Answered":
        answered: Answered = json.loads(await stdout.readline())
        return answered

    ending = asyncio.create_task(end())
    try:
        yield ending
        await ending
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask(times: Times, talk: Talk, keys: Sequence[str], calls: int) -> None:
    for number in range(calls):
        await times.ask(talk, keys[number % len(keys)])
        await asyncio.sleep(PAUSE)


async def _keep_asking(times: Times, talk: Talk, keys: Sequence[str], until: "asyncio.Task[Answered]") -> None:
    number = 0
    while not until.done() or not number:
        await times.ask(talk, keys[number % len(keys)])
        number += 1
        await asyncio.sleep(PAUSE)  # or those few would take all of a core by themselves


async def _first_uses(
    times: Times, port: int, keys: Sequence[str], seconds: float, until: "asyncio.Task[Answered]"
) -> None:
    """Spread over the flood."""
    for number, key in enumerate(keys):
        async with Talk(port, address=ELSEWHERE if number % 2 else "127.0.0.1") as talk:
            await times.ask(talk, key)
        await asyncio.wait([until], timeout=seconds / len(keys) / 2)


def row(report: Report) -> str:
    forged, idle, warm, cold = report.forged.total(), report.idle, report.warm, report.cold
    cells = (
        report.kind,
        f"{report.connections:,}",
        f"{forged / report.forged_seconds:,.0f}",
        ", ".join(f"{count:,} {status}" for status, count in sorted(report.forged.items())),
        f"{idle.milliseconds(50):.1f} / {idle.milliseconds(99):.1f}",
        f"{warm.milliseconds(50):.1f} / {warm.milliseconds(99):.1f}",
        f"{(warm.statuses + report.victim.statuses)[200]:,} of {(warm.statuses + report.victim.statuses).total():,}",
        f"{cold.statuses[200]} of {cold.statuses.total()}",
        f"{1000 * max(cold.seconds):,.0f}",
        f"{report.bcrypt_seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |\n"


HEAD: Final = (
    "| flood | connections | forgeries a second | answered | idle p50 / p99 ms | warm p50 / p99 ms | warm let in | "
    "first uses let in | slowest ms | bcrypt s |\n| --- " + "| --- " * 9 + "|\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.floods.key_floods", description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[30])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--kinds", nargs="+", choices=list(Kind), default=list(Kind))
    parser.add_argument("--cold", type=int, default=20, help="How many keys are used for the first time.")
    parser.add_argument("--bcrypt-cost", type=int, default=12)
    parser.add_argument("--apart", action="store_true", help="The server has half of the cores, all else the others.")
    asked = parser.parse_args()
    complaints: list[str] = []
    of_the_server, of_others = halves() if asked.apart else ((), ())
    sys.stdout.write(HEAD)
    for kind in map(Kind, asked.kinds):
        for connections in asked.connections:
            with tempfile.TemporaryDirectory() as folder, open_files(connections + 200):
                database = SqliteDatabase(Path(folder) / "data" / "keys.db")
                scene = asyncio.run(prepare(database, cold=asked.cold, bcrypt_cost=asked.bcrypt_cost))
                settings = SETTINGS | {"MCP_KEYS_BCRYPT_COST": str(asked.bcrypt_cost)}
                with on(of_others), ExitStack() as stack:
                    with on(of_the_server):
                        server = stack.enter_context(running_server(database, **settings))
                    going = flood(
                        server,
                        scene,
                        kind,
                        connections=connections,
                        seconds=asked.seconds,
                        before=CALLS_BEFORE,
                        yields=asked.apart,
                    )
                    report = asyncio.run(going)
            sys.stdout.write(row(report))
            sys.stdout.flush()
            complaints += [f"{kind}, {connections}: {one}" for one in report.complaints()]
    sys.stdout.writelines(f"{one}\n" for one in complaints)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
