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
from typing import Final, TypeVar

from mcp_keys_server import (
    InvalidApiKeyError,
    KeyRing,
    RequestedGrant,
    open_key_ring,
)
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person
from tests.faults.history import History
from tests.faults.judging import Verdict, judge
from tests.faults.losing_disk import Cut, LosingDisk
from tests.faults.report import give, tell
from tests.faults.sqlite_on_disk import sqlite_on

DATABASE: Final = "keys.db"
USERS: Final = ("ada", "bob", "eve")
TURNS_EACH: Final = 20
"""After so many the power goes in any case."""
KEPT: Final = (0.0, 0.5)
"""With which probabilities something is kept that was not synced."""
PAGES: Final = 1_000
"""Between two checkpoints, as SQLite has it."""
FEW_PAGES: Final = 20
AS_IT_IS: Final[Mapping[str, str]] = {}

Answer = TypeVar("Answer")


class _NobodyHearsError(Exception):
    """The answer came after the power had gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one round."""

    cuts: tuple[Cut, ...]
    checkpoint_pages: int = FEW_PAGES
    begins_with_a_database: bool = True

    @classmethod
    def of(cls, number: int, chance: random.Random) -> "Plan":
        anywhere = Cut(chance.randrange(1, 600))
        match number % 5:
            case 0:
                return cls((anywhere,), PAGES)
            case 1:  # amid a checkpoint: nothing else writes to the database itself
                return cls((Cut(chance.randrange(1, 60), DATABASE),))
            case 2:  # and once more amid the first steps with what is left
                return cls((anywhere, Cut(chance.randrange(1, 60))))
            case 3:
                return cls((anywhere, Cut(chance.randrange(1, 30), DATABASE), Cut(chance.randrange(1, 60))))
            case _:
                return cls((Cut(chance.randrange(1, 400)),), begins_with_a_database=False)


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
        self._new = folder / "new"

    async def run(self, rounds: int) -> Outcome:
        self._new.mkdir(parents=True)
        async with open_key_ring(self._new / DATABASE, bcrypt_cost=CHEAPEST_COST) as ring:
            for user in USERS:
                await ring.administration.add_user(user)
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
        disk = folder / "0"
        if plan.begins_with_a_database:
            shutil.copytree(self._new, disk)
        else:
            disk.mkdir(parents=True)
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


async def _live(disk: LosingDisk, path: Path, history: History, chance: random.Random) -> None:
    """What the product does on this disk until there is no power, and when it then has to end."""
    try:
        async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST) as ring:
            for user in USERS:
                await ring.administration.find_or_add_user(user, email=None, name=None)
            async with asyncio.TaskGroup() as group:
                for user in USERS:
                    group.create_task(_User(disk, ring, Person(user), history, chance).live())
            disk.lose_power()
    except Exception as error:  # noqa: BLE001 - whatever it is, without power it is no wonder
        if disk.has_power:
            history.failures.add(f"{error!r}")


class _User:
    """Does one thing after the other."""

    def __init__(
        self, disk: LosingDisk, ring: KeyRing, person: Person, history: History, chance: random.Random
    ) -> None:
        self._disk = disk
        self._ring = ring
        self._person = person
        self._history = history
        self._chance = chance

    async def live(self) -> None:
        try:
            for _ in range(TURNS_EACH):
                await self._take_turn()
        except _NobodyHearsError:
            self._history.unknown += 1
        except Exception as error:  # noqa: BLE001 - as above
            self._history.unknown += 1
            if self._disk.has_power:
                self._history.failures.add(f"{error!r}")

    async def _take_turn(self) -> None:
        history, manager = self._history, self._ring.manager
        key_id, plaintext = await self._new_key()
        await self._use(plaintext)
        if self._chance.random() < 0.3:
            history.perhaps_replaced.add(plaintext)
            _, key = self._heard(await manager.rotate_key(self._person, key_id=key_id, overlap_hours=0))
            history.replaced.add(plaintext)
            history.handed_over[key.reveal()] = key_id
            await self._use(plaintext)
            plaintext = key.reveal()
            await self._use(plaintext)
        if self._chance.random() < 0.8:
            history.perhaps_revoked.add(key_id)
            self._heard(await manager.revoke_key(self._person, key_id=key_id, reason=None))
            history.revoked.add(key_id)
            await self._use(plaintext)

    async def _new_key(self) -> tuple[str, str]:
        history, manager, name = self._history, self._ring.manager, f"{self._chance.random()}"
        if self._chance.random() < 0.5:
            history.good_at_once.add(name)
            made, key = self._heard(await manager.create_key(self._person, name=name, requested=RequestedGrant()))
            history.created.add(made.key_id)
        else:
            made = self._heard(await manager.create_unclaimed_key(self._person, name=name, requested=RequestedGrant()))
            history.created.add(made.key_id)
            _, key = self._heard(await manager.claim_key(self._person, key_id=made.key_id, claimed_from=None))
        history.handed_over[key.reveal()] = made.key_id
        return made.key_id, key.reveal()

    async def _use(self, plaintext: str) -> None:
        try:
            await self._ring.verifier.verify(plaintext)
            accepted = True
        except InvalidApiKeyError:
            accepted = False
        self._heard(None)
        self._history.note_use(plaintext, accepted=accepted)

    def _heard(self, answer: Answer) -> Answer:
        if not self._disk.has_power:
            raise _NobodyHearsError
        self._history.acknowledged += 1
        return answer


def synchronous(setting: str) -> Mapping[str, str]:
    """What is executed instead, to have this one and not the product's."""
    return {"PRAGMA synchronous = FULL": f"PRAGMA synchronous = {setting}"}


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power_cuts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000, help="How many with each probability.")
    parser.add_argument("--seed", default=f"{time.time_ns()}", help="The same one makes the same plans.")
    parser.add_argument("--synchronous", default="FULL", help="NORMAL shows that what is lost is found.")
    parser.add_argument("--out", type=Path, help="A file for the figures.")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="power-cuts-"))
    report: dict[str, object] = {"seed": asked.seed, "synchronous": asked.synchronous}
    bad = 0
    for kept in KEPT:
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
