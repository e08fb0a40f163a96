"""What came of keeping something busy for a while."""

import statistics
from collections.abc import Sequence
from typing import TypedDict


class Outcome(TypedDict):
    requests: int
    seconds: float
    p50: float
    p99: float
    """Both in microseconds."""


def outcome(times: Sequence[int], taken: int) -> Outcome:
    """Of requests that took so long each, and all together; in nanoseconds."""
    # Of one alone, the first call of a program that has to be started, there is nothing to divide.
    percentiles = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times] * 99
    return Outcome(requests=len(times), seconds=taken / 1e9, p50=percentiles[49] / 1000, p99=percentiles[98] / 1000)
