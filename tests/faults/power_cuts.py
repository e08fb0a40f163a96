"""The power lost below SQLite, again and again, while keys are made, claimed, used, rotated and revoked.

``python -m tests.faults.power_cuts --rounds 2000 --out FILE`` does it for long, with nothing kept of what was not
synced and once more with half of it; the tests do it briefly.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from mcp_keys_server import open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person
from mcp_keys_server.stores.sql.checksum_secrets import with_digest
from tests.databases import SqliteDatabase
from tests.faults.history import History
from tests.faults.judging import Verdict, judge
from tests.faults.losing_disk import Cut, LosingDisk
from tests.faults.report import give, tell
from tests.faults.ring_users import RingUser
from tests.faults.sqlite_on_disk import sqlite_on
from tests.mints import mint_of
from tests.stores.sqlite.test_file import make_first_schema

DATABASE: Final = "keys.db"
USERS: Final = ("ada", "bob", "eve")
KEPT: Final = (0.0, 0.5)
"""With which probabilities something is kept that was not synced."""
PAGES: Final = 1_000
"""Between two checkpoints, as SQLite has it."""
FEW_PAGES: Final = 20
AS_IT_IS: Final[Mapping[str, str]] = {}

Beginning: TypeAlias = Literal["nothing", "a database", "the first schema"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one round."""

    cuts: tuple[Cut, ...]
    checkpoint_pages: int = FEW_PAGES
    beginning: Beginning = "a database"

    @classmethod
    def of(cls, number: int, chance: random.Random) -> "Plan":
        anywhere = Cut(chance.randrange(1, 600))
        match number % 6:
            case 0:
                return cls((anywhere,), PAGES)
            case 1:  # amid a checkpoint: nothing else writes to the database itself
                return cls((Cut(chance.randrange(1, 60), DATABASE),))
            case 2:  # and once more amid the first steps with what is left
                return cls((anywhere, Cut(chance.randrange(1, 25))))
            case 3:
                return cls((anywhere, Cut(chance.randrange(1, 30), DATABASE), Cut(chance.randrange(1, 25))))
            case 4:
                return cls((Cut(chance.randrange(1, 250)),), beginning="nothing")
            case _:
                return cls((Cut(chance.randrange(1, 120)),), beginning="the first schema")


@dataclass
class Outcome:
    rounds: int = 0
    bad_rounds: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    histories: list[Path] = field(default_factory=list)
    """Of the bad rounds, each beside what was on the disk."""


class PowerCuts:
    """Rounds on files in this folder; they are to go wrong when statements are executed as others instead."""

    def __init__(self, folder: Path, *, kept: float, seed: str, instead: Mapping[str, str] = AS_IT_IS) -> None:
        self._folder = folder
        self._kept = kept
        self._seed = seed
        self._instead = instead
        self._beginnings: dict[Beginning, Path] = {}

    async def run(self, rounds: int) -> Outcome:
        self._beginnings = await _make_beginnings(self._folder)
        outcome = Outcome()
        for number in range(rounds):
            await self._run_one(number, outcome)
            outcome.rounds += 1
            tell(f"{outcome.rounds} rounds, {outcome.bad_rounds} bad, {outcome.verdict.acknowledged} acknowledged")
        return outcome

    async def _run_one(self, number: int, outcome: Outcome) -> None:
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311 - so that a bad round can be had again
        plan = Plan.of(number, chance)
        folder, history = self._folder / f"round-{number}", History()
        disk = shutil.copytree(self._beginnings[plan.beginning], folder / "0")
        for life, cut in enumerate(plan.cuts, 1):
            survivor = folder / str(life)
            survivor.mkdir()
            with LosingDisk(disk, cut) as losing:
                with sqlite_on(losing, checkpoint_pages=plan.checkpoint_pages, instead=self._instead):
                    await _live(losing, disk / DATABASE, history, chance)
                losing.survive(survivor, chance, self._kept)
            disk = survivor
        judged = shutil.copytree(disk, folder / "judged")
        verdict = await judge(judged / DATABASE, history)
        outcome.verdict += verdict
        if verdict.wrong:
            outcome.bad_rounds += 1
            outcome.histories.append(history.keep(folder / "history.json"))
        else:
            shutil.rmtree(folder)


async def _make_beginnings(folder: Path) -> dict[Beginning, Path]:
    made: dict[Beginning, Path] = {name: folder / name for name in get_args(Beginning)}
    for beginning in made.values():
        beginning.mkdir(parents=True)
    async with open_key_ring(made["a database"] / DATABASE, bcrypt_cost=CHEAPEST_COST) as ring:
        for user in USERS:
            await ring.administration.add_user(user)
    first, secret = made["the first schema"] / DATABASE, with_digest(bytes(32))
    make_first_schema(first, mint_of(secret).mint(), secret)
    # Its key is of a time before the ledger, which would tell nothing of it.
    SqliteDatabase(first).sql("DELETE FROM secrets", "DELETE FROM keys", "DELETE FROM users")
    return made


async def _live(disk: LosingDisk, path: Path, history: History, chance: random.Random) -> None:
    """What the product does on this disk until there is no power, and when it then has to end."""
    try:
        async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST) as ring:
            for user in USERS:
                await ring.administration.find_or_add_user(user, email=None, name=None)
            async with asyncio.TaskGroup() as group:
                for user in USERS:
                    group.create_task(RingUser(disk, ring, Person(user), history, chance).live())
            disk.lose_power()
    except Exception as error:  # noqa: BLE001 - whatever it is, without power it is no wonder
        if disk.has_power:
            history.failures.add(f"{error!r}")


def synchronous(setting: str) -> Mapping[str, str]:
    """What is executed instead, to have this one and not the product's."""
    return {"PRAGMA synchronous = FULL": f"PRAGMA synchronous = {setting}"}


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power_cuts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000, help="How many with each probability.")
    parser.add_argument("--kept", type=float, nargs="+", default=KEPT, help="Which probabilities.")
    parser.add_argument("--seed", default=f"{time.time_ns()}", help="The same one makes the same plans.")
    parser.add_argument("--synchronous", default="FULL", help="NORMAL shows that what is lost is found.")
    parser.add_argument("--out", type=Path, help="A file for the figures.")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="power-cuts-"))
    report: dict[str, object] = {"seed": asked.seed, "synchronous": asked.synchronous}
    bad = 0
    for kept in asked.kept:
        cuts = PowerCuts(folder / f"{kept}", kept=kept, seed=asked.seed, instead=synchronous(asked.synchronous))
        outcome = await cuts.run(asked.rounds)
        bad += outcome.bad_rounds
        histories = list(map(str, outcome.histories))
        report[f"kept {kept}"] = {
            "rounds": outcome.rounds,
            "bad_rounds": outcome.bad_rounds,
            **asdict(outcome.verdict),
            **({"histories": histories} if histories else {}),
        }
    give(report, asked.out)
    if not bad:
        shutil.rmtree(folder)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
