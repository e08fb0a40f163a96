"""Contestants measured in turns, so that whatever changes on the machine meets all of them alike."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Goal, Quantity, Row, Spread

Figures = Mapping[Quantity, float]
Contestant = Callable[[], Figures]
"""Does its work once and says what it took."""

QUIET = 0.95
"""Of one core: what all that is measured keeps busy while nobody else wants it."""

RULE = (
    f"a round in which something that was measured had less than {QUIET:.0%} of a core, because others had it, is "
    "dropped and repeated, up to twice the number of rounds; of too few quiet rounds the quietest make up half"
)


@dataclass(frozen=True, slots=True)
class Round:
    figures: Mapping[str, Figures]

    @property
    def share(self) -> float:
        return min(figures[Quantity.SHARE] for figures in self.figures.values())

    def ratio(self, quantity: Quantity, subject: str, reference: str) -> float:
        return self.figures[subject][quantity] / self.figures[reference][quantity]

    def added(self, subject: str, base: str) -> float:
        return self.figures[subject][Quantity.P50] - self.figures[base][Quantity.P50]


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds that count, out of all that were run."""

    run: int
    kept: Sequence[Round]
    quiet: int

    def compare(
        self,
        what: str,
        quantity: Quantity,
        subject: str,
        reference: str,
        *,
        compared_with: str,
        goal: Goal | None = None,
        peer: str | None = None,
    ) -> Row:
        return Row(
            what=what,
            quantity=quantity,
            measured=self._spread(quantity, subject),
            compared_with=compared_with,
            reference=self._spread(quantity, reference),
            # Of each round by itself: what slowed one contestant down slowed the other in the same round as well.
            ratio=Spread.of([one.ratio(quantity, subject, reference) for one in self.kept]),
            goal=goal,
            rounds_run=self.run,
            rounds_kept=len(self.kept),
            rounds_quiet=self.quiet,
            peer=peer,
        )

    def compare_added(self, what: str, subject: str, reference: str, base: str, *, compared_with: str) -> Row:
        """What each of both adds to the base, and not what it takes with it."""
        ours = [one.added(subject, base) for one in self.kept]
        theirs = [one.added(reference, base) for one in self.kept]
        return Row(
            what=what,
            quantity=Quantity.ADDED,
            measured=Spread.of(ours),
            compared_with=compared_with,
            reference=Spread.of(theirs),
            ratio=Spread.of([one / other for one, other in zip(ours, theirs, strict=True)]),
            goal=None,
            rounds_run=self.run,
            rounds_kept=len(self.kept),
            rounds_quiet=self.quiet,
        )

    def _spread(self, quantity: Quantity, contestant: str) -> Spread:
        return Spread.of([one.figures[contestant][quantity] for one in self.kept])


def always(figures: Figures) -> Contestant:
    """A contestant that is no more than a measure: a microsecond, or a byte."""
    return lambda: {**figures, Quantity.SHARE: 1.0}


def run_rounds(title: str, bench: Bench, contestants: Mapping[str, Contestant]) -> Rounds:
    """Measure all contestants in each round, after one round that does not count."""
    asked = bench.effort.rounds
    names = list(contestants)
    rounds: list[Round] = []
    quiet = 0
    bench.progress.show(f"{title}: warming up")
    for contestant in contestants.values():
        contestant()
    while quiet < asked and len(rounds) < 2 * asked:
        bench.progress.show(f"{title}: round {quiet + 1} of {asked}, {len(rounds) - quiet} disturbed")
        # Another one begins each time, so that none always follows the same.
        first = len(rounds) % len(names)
        with _without_collection():
            rounds.append(Round({name: contestants[name]() for name in names[first:] + names[:first]}))
        quiet += rounds[-1].share >= QUIET
    rounds.sort(key=lambda one: one.share, reverse=True)
    return Rounds(len(rounds), rounds[: max(quiet, (asked + 1) // 2)], quiet)


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
