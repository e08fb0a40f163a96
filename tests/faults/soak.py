"""The real program under mixed load for as long as one likes, with one request of a hundred that is at fault.

``python -m tests.faults.soak --seconds 86400 --out FILE`` does it for a day; the tests do it briefly. What it holds, in
memory and in open files, is to stay as it was when all had been used, and so are the times of its answers.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import linear_regression, mean, quantiles
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import aiosqlite

from tests.databases import SqliteDatabase
from tests.faults.history import History
from tests.faults.http_users import HttpUser, Line, first_keys
from tests.faults.judging import judge
from tests.faults.killed_server import UNLIMITED
from tests.faults.report import give, tell, tidied
from tests.running_server import PROGRAM, running_server

USERS: Final = 8
SAMPLES: Final = 40
"""As many as there are looks at the server, evenly spread; the first half is for all to be used once."""
USES_OF_A_TURN: Final = 4
"""Of a key, before another one is made, claimed, used, rotated and revoked."""
ONE_IS_AT_FAULT_OF: Final = 100
SECONDS_OF_A_LOCK: Final = 0.2
SECONDS_TO_GET_IT: Final = 60
"""Where very many write, SQLite lets somebody else in only by chance."""
MOST_MORE_FILES: Final = 8
MOST_GROWTH: Final = 0.05
"""Of its memory, from the middle to the end."""


@dataclass(frozen=True)
class Sample:
    seconds: float
    """Since the start."""
    memory: int
    """Resident bytes."""
    files: int
    uses: int
    p99: float
    """Milliseconds, of the uses since the sample before it."""


@dataclass
class Outcome:
    history: History = field(default_factory=History)
    samples: list[Sample] = field(default_factory=list)
    faults: int = 0
    unexpected: set[str] = field(default_factory=set)
    """Answers to what was at fault."""
    crashes: list[str] = field(default_factory=list)
    """Lines of the log."""
    sent: int = 0
    """Uses so far."""
    uses: list[float] = field(default_factory=list)
    """Seconds of each since the last sample."""

    @property
    def second_half(self) -> list[Sample]:
        return self.samples[len(self.samples) // 2 :]

    @property
    def bytes_an_hour(self) -> float:
        """How fast its memory grew, by the line that fits the second half."""
        hours = [sample.seconds / 3600 for sample in self.second_half]
        return linear_regression(hours, [sample.memory for sample in self.second_half]).slope

    @property
    def drift(self) -> float:
        """By what part the 99th percentile of the last quarter is above that of the one before it."""
        half = self.second_half
        before, after = half[: len(half) // 2], half[len(half) // 2 :]
        return mean(one.p99 for one in after) / mean(one.p99 for one in before) - 1

    def complaints(self) -> list[str]:
        begun, ended = self.second_half[0], self.second_half[-1]
        found = [*sorted(self.unexpected), *sorted(self.history.unanswered), *self.crashes]
        if ended.files > begun.files + MOST_MORE_FILES:
            found.append(f"{begun.files} files were open in the middle, and {ended.files} at the end")
        if ended.memory > begun.memory * (1 + MOST_GROWTH):
            found.append(f"it held {begun.memory:,} bytes in the middle, and {ended.memory:,} at the end")
        return found


class SteadyUser(HttpUser):
    """One who keeps using the same key as well, and now and then sends what is at fault."""

    def __init__(self, user_id: str, key: str, port: Callable[[], int], outcome: Outcome, *, pause: float) -> None:
        super().__init__(user_id, key, port, outcome.history)
        self._port = port
        self._outcome = outcome
        self._pause = pause
        self._faults = cycle([self._forge, self._say_nonsense, self._leave_early, self._leave_amid_it])

    async def _take_turn(self) -> None:
        for _ in range(USES_OF_A_TURN):
            begun = monotonic()
            await self._use(self._key)
            self._outcome.uses.append(monotonic() - begun)
            self._outcome.sent += 1
            if self._outcome.sent % ONE_IS_AT_FAULT_OF == 0:
                self._outcome.faults += 1
                await next(self._faults)()
            await asyncio.sleep(self._pause)
        await self._call("list_keys")
        await super()._take_turn()

    async def _forge(self) -> None:
        await self._expect(401, *self._request(f"mhu_{self._key[4:12]}{secrets.token_urlsafe(30)}", "tools/list"))

    async def _say_nonsense(self) -> None:
        path, body, headers = self._request(self._key, "tools/list")
        await self._expect(400, path, body[1:], headers)

    async def _expect(self, status: int, path: str, body: str, headers: Mapping[str, str]) -> None:
        answer = await self._line.post(path, body, headers)
        if answer.status != status:
            self._outcome.unexpected.add(f"{status} was to come, and not {answer.status} {answer.body[:200]}")

    async def _leave_early(self) -> None:
        await self._leave(0, "tools/call", name="create_key", arguments={"name": "nobody waits for it"})

    async def _leave_amid_it(self) -> None:
        await self._leave(1, "tools/list")

    async def _leave(self, all_but: int, method: str, **params: object) -> None:
        """Send a request but for its last bytes, and be gone before it is answered."""
        line = Line(self._port)
        await line.send(*self._request(self._key, method, **params), all_but=all_but)
        line.close()


async def run(
    database: Path, *, operations: int, seconds: float = 0.0, pause: float = 0.0, program: Sequence[str] = PROGRAM
) -> Outcome:
    """At least so many acknowledged operations, and for so long at the least."""
    outcome = Outcome()
    keys = await first_keys(database, USERS, outcome.history)
    with running_server(SqliteDatabase(database), program=program, **UNLIMITED) as server:
        port = urlsplit(server.base_url).port or 0
        users = [SteadyUser(user_id, key, lambda: port, outcome, pause=pause) for user_id, key in keys.items()]
        begun = monotonic()
        async with asyncio.TaskGroup() as group:
            living = [group.create_task(user.live()) for user in users]
            for number in range(1, SAMPLES + 1):
                await _until(outcome.history, operations * number / SAMPLES, begun + seconds * number / SAMPLES)
                await _hold_the_database(database)
                outcome.samples.append(_sample(server.process.pid, monotonic() - begun, outcome))
                tell(f"{number} of {SAMPLES}, {outcome.history.acknowledged} acknowledged")
            for task in living:
                task.cancel()
        outcome.crashes = [line for line in server.log.read_text().splitlines() if "crashed" in line]
    return outcome


async def _until(history: History, acknowledged: float, moment: float) -> None:
    while history.acknowledged < acknowledged or monotonic() < moment:
        await asyncio.sleep(0.01)


async def _hold_the_database(database: Path) -> None:
    """As another program does that writes into it."""
    async with aiosqlite.connect(database, isolation_level=None, timeout=SECONDS_TO_GET_IT) as connection:
        await connection.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(SECONDS_OF_A_LOCK)
        await connection.execute("ROLLBACK")


def _sample(pid: int, seconds: float, outcome: Outcome) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    uses, outcome.uses = outcome.uses, []
    return Sample(
        seconds=round(seconds, 1),
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        uses=len(uses),
        p99=round(1000 * quantiles(uses, n=100)[-1], 2) if len(uses) > 1 else 0.0,
    )


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=86_400, help="For so long.")
    parser.add_argument("--pause", type=float, default=0.1, help="Seconds between two requests of a user.")
    parser.add_argument("--out", type=Path, help="A file for the figures.")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    outcome = await run(folder / "data" / "keys.db", operations=0, seconds=asked.seconds, pause=asked.pause)
    verdict = await judge(folder / "data" / "keys.db", outcome.history)
    complaints = outcome.complaints()
    report = {
        "faults": outcome.faults,
        "complaints": complaints,
        "megabytes_an_hour": round(outcome.bytes_an_hour / 1e6, 3),
        "drift_of_p99": round(outcome.drift, 3),
        "samples": [asdict(sample) for sample in outcome.samples],
        **asdict(verdict),
    }
    give(report, asked.out)
    return tidied(folder, outcome.history, is_bad=bool(complaints or verdict.wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
