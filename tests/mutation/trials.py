"""Mutants on trial: each against the tests that could notice it, until one does."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import fresh
from tests.mutation.choice import tests_for
from tests.mutation.forks import BROKE_DOWN, in_forks
from tests.mutation.mutants import Mutant
from tests.mutation.suite import NOTICED, Known, Suite

ENOUGH_SECONDS = 15.0
"""Of the processor, for the tests of one mutant: who is let live by so many is called a survivor."""
NO_LIMITS = {"of_processor": 86_400.0, "of_clock": 86_400.0}

Outcomes = dict[tuple[str, str], str]
"""What became of each, by its module and its name."""


@dataclass(frozen=True)
class Trials:
    """Of mutants of a package, with tests of it."""

    package: Path
    tests: Sequence[str]
    at_once: int
    known: Path
    """A file for what is known of the tests, which is used again when it is there."""
    told: Path
    """A file for what became of those whose tests were collected in another process."""
    only_anew: bool = False
    """Only those that need the package to be imported anew."""
    enough: float = ENOUGH_SECONDS

    def hold(self, mutants: Sequence[Mutant]) -> Outcomes:
        """Each of them. Nothing of the package may have been imported."""
        fresh.import_what_others_made()
        within = [mutant for mutant in mutants if mutant.function is not None]
        for _ in in_forks([within], self._hold_within, at_once=1, **NO_LIMITS):
            pass
        outcomes = {(module, name): outcome for module, name, outcome in _lines(self.told)}
        # Those that cannot take the place of what they are made of, such as a method without its ``super()``, too.
        left = [mutant for mutant in mutants if outcomes.get(self._key(mutant)) in (None, "broke down")]
        anew = {self._key(mutant): outcome for mutant, outcome in self._at_import(left)}
        return anew if self.only_anew else outcomes | anew

    def _hold_within(self, mutants: Sequence[Mutant]) -> int:
        def run(suite: Suite) -> None:
            if not self.known.exists():
                suite.measure(self.known)
            chosen = self._chosen(mutants)
            with self.told.open("w", buffering=1) as told:
                for mutant, code in in_forks(
                    mutants,
                    lambda it: suite.notices(it, [] if self.only_anew else chosen[it]),
                    at_once=self.at_once,
                    **self._limits,
                ):
                    outcome = _outcome(code, chosen[mutant])
                    told.write(f"{json.dumps([*self._key(mutant), outcome])}\n")
                    if not self.only_anew:
                        self._tell(mutant, outcome)

        return pytest.main([*fresh.OPTIONS, *self.tests], plugins=[Suite(self.package, run)])

    def _at_import(self, mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, str]]:
        chosen = self._chosen(mutants)
        for mutant, code in in_forks(
            mutants, lambda it: fresh.notices(it, self._dotted(it), chosen[it]), at_once=self.at_once, **self._limits
        ):
            outcome = _outcome(code, chosen[mutant])
            self._tell(mutant, outcome)
            yield mutant, outcome

    def _chosen(self, mutants: Sequence[Mutant]) -> dict[Mutant, list[Known]]:
        known = [Known(**about) for about in _lines(self.known)]
        return {mutant: tests_for(mutant, known, self.package, self.enough) for mutant in mutants}

    @property
    def _limits(self) -> dict[str, float]:
        """Seconds for one mutant: who takes longer hangs, which is noticed too."""
        return {"of_processor": 2 * self.enough, "of_clock": 10 * self.enough}

    def _tell(self, mutant: Mutant, outcome: str) -> None:
        if outcome in ("survived", "timed out"):
            sys.stderr.write(f"{outcome}: {':'.join(self._key(mutant))} (line {mutant.lines.start})\n")

    def _key(self, mutant: Mutant) -> tuple[str, str]:
        return str(mutant.path.relative_to(self.package)), mutant.name

    def _dotted(self, mutant: Mutant) -> str:
        parts = mutant.path.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(parts).removesuffix(".__init__")


def _outcome(code: int | None, tests: Sequence[Known]) -> str:
    named = {None: "timed out", NOTICED: "killed", BROKE_DOWN: "broke down"}
    return named.get(code, "survived") if tests else "survived"


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
