"""What is measured, and how many rounds of it become one row of the table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    """What a round tells of a contestant. All times are in microseconds."""

    CALL = "time of one call"
    RATE = "requests per second"
    VERIFICATIONS = "verifications per second"
    ALL = "time until all requests were answered"
    P50 = "median of the time of one request"
    ADDED = "what the median of the time of one request is longer than without anything between"
    P99 = "99th percentile of the time of one request"
    PROCESSOR = "processor time of the server for one request"
    MEMORY = "bytes of memory"
    SHARE = "share of one core that the measured process had"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the bounds of the middle half of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio is to reach."""

    number: int
    """As the README counts them."""
    ratio: float
    at_least: bool
    """Else at most."""
    is_absolute: bool = False
    """Against one microsecond or one byte, which no other machine has alike."""

    def is_met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.at_least else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.ratio:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, and the same quantity of what it is compared with."""

    what: str
    quantity: Quantity
    measured: Spread
    compared_with: str
    reference: Spread
    ratio: Spread
    goal: Goal | None
    """None: it is only told."""
    rounds_run: int
    rounds_kept: int
    rounds_quiet: int
    """As many as were kept, unless there were too few of them."""
    peer: str | None = None
    """Whose figure the reference is, in a word or two, where the plot is to show it beside ours."""

    @property
    def identity(self) -> tuple[str, Quantity, str]:
        """By which the same row of another run is known."""
        return self.what, self.quantity, self.compared_with

    @property
    def is_met(self) -> bool | None:
        """Whether its goal is; None: it has none."""
        return None if self.goal is None else self.goal.is_met(self.ratio.median)
