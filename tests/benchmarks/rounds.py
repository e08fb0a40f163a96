"""Contestants measured in turns, so that whatever changes on the machine meets all of them alike."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row, Spread
from tests.benchmarks.neighbours import Neighbours

Figures = Mapping[Quantity, float]
Contestant = Callable[[], Figures]
"""Does its work once and says what it took."""

QUIET = 0.1
"""Of one core: what others may use during a round."""

RULE = (
    f"a round in which other processes, or the hypervisor, used more than {QUIET:.0%} of one core is dropped and "
    "repeated, up to twice the number of rounds; of too few quiet rounds the least disturbed ones make up half"
)


@dataclass(frozen=True, slots=True)
class Round:
    figures: Mapping[str, Figures]
    disturbance: float

    def ratio(self, quantity: Quantity, subject: str, reference: str) -> float:
        return self.figures[subject][quantity] / self.figures[reference][quantity]


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds that count, out of all that were run."""

    run: int
    kept: Sequence[Round]
    quiet: int

    def compare(self, what: str, quantity: Quantity, subject: str, reference: str, *, compared_with: str) -> Row:
        return Row(
            what=what,
            quantity=quantity,
            measured=self._spread(quantity, subject),
            compared_with=compared_with,
            reference=self._spread(quantity, reference),
            # Of each round by itself: what slowed one contestant down slowed the other in the same round as well.
            ratio=Spread.of([one.ratio(quantity, subject, reference) for one in self.kept]),
            rounds_run=self.run,
            rounds_kept=len(self.kept),
            rounds_quiet=self.quiet,
        )

    def _spread(self, quantity: Quantity, contestant: str) -> Spread:
        return Spread.of([one.figures[contestant][quantity] for one in self.kept])


def run_rounds(
    title: str,
    bench: Bench,
    contestants: Mapping[str, Contestant],
    *,
    seconds_of_ours: Callable[[], float] = time.process_time,
) -> Rounds:
    """Measure all contestants in each round, after one round that does not count.

    ``seconds_of_ours`` is the processor time of all processes that take part.
    """
    asked = bench.effort.rounds
    names = list(contestants)
    rounds: list[Round] = []
    quiet = 0
    bench.progress.show(f"{title}: warming up")
    for contestant in contestants.values():
        contestant()
    while quiet < asked and len(rounds) < 2 * asked:
        bench.progress.show(f"{title}: round {quiet + 1} of {asked}, {len(rounds) - quiet} disturbed")
        neighbours = Neighbours(seconds_of_ours)
        # Another one begins each time, so that none always follows the same.
        first = len(rounds) % len(names)
        with _without_collection():
            figures = {name: contestants[name]() for name in names[first:] + names[:first]}
        rounds.append(Round(figures, neighbours.cores_used()))
        quiet += rounds[-1].disturbance <= QUIET
    rounds.sort(key=lambda one: one.disturbance)
    return Rounds(len(rounds), rounds[: max(quiet, (asked + 1) // 2)], quiet)


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
