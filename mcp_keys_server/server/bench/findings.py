"""What was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

COSTS: Final = range(8, 15)
"""Those that are measured, if there is time, beside the configured one."""
LEAST_COST: Final = 10
"""OWASP Password Storage Cheat Sheet: for bcrypt, a work factor of 10 or more."""
MOST_MILLISECONDS: Final = 250
"""Of one check. The same page wants a hash in less than a second; a person waits for this one, and others with them."""


@dataclass(frozen=True, slots=True)
class CostFigures:
    """Of one bcrypt cost."""

    cost: int
    check_ms: float
    """One check, the least disturbed of some: others that are busy slow these threads down before all else."""
    checks_per_second: float
    """On all cores."""


@dataclass(frozen=True, slots=True)
class Times:
    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class VerificationFigures:
    """Microseconds of one verification of a key that was proven before, and of the look-up in it."""

    warm: Times
    look_up: Times
    prefixes: int
    """How many that are in the database were looked up; 0: there are none, so none was found."""


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Of calls to one worker, in one version of the protocol."""

    protocol: str
    requests_per_second: float
    milliseconds: Times

    def users(self, requests_per_minute: float) -> int:
        """How many who make so many requests each keep the worker busy."""
        return int(self.requests_per_second * 60 / requests_per_minute)


@dataclass(frozen=True, slots=True)
class Findings:
    costs: Sequence[CostFigures]
    """The lowest first; never empty."""
    verification: VerificationFigures
    callers: int
    """How many called at once."""
    calls: Sequence[CallFigures]


def recommended_cost(costs: Sequence[CostFigures]) -> int:
    """The highest whose check takes at most so long, and never less than the least."""
    quick = (cost for cost in COSTS if figures_of(cost, costs)[0].check_ms <= MOST_MILLISECONDS)
    return max((LEAST_COST, *quick))


def figures_of(cost: int, costs: Sequence[CostFigures]) -> tuple[CostFigures, bool]:
    """Those of this cost, and whether they were measured. If not, they follow from the nearest: each step doubles."""
    nearest = min(costs, key=lambda figures: abs(figures.cost - cost))
    work = 2.0 ** (cost - nearest.cost)
    return CostFigures(cost, nearest.check_ms * work, nearest.checks_per_second / work), nearest.cost == cost
