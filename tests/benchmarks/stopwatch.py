"""Work of this process on the clock."""

import time
from collections.abc import Callable
from typing import Final

import bcrypt

from tests.benchmarks.figures import Quantity
from tests.benchmarks.rounds import Contestant, Figures

PASSWORD: Final = b"not a key, but as long as one is: fifty-five characters"


def timed(work: Callable[[], object], *, calls: int, waits: bool = False) -> Contestant:
    """A contestant that does this work, which is so many calls. Of one that waits for another process most of the time,
    the share of a core says nothing.
    """

    def contestant() -> Figures:
        processor = time.process_time_ns()
        started = time.perf_counter_ns()
        work()
        elapsed = time.perf_counter_ns() - started
        share = 1.0 if waits else (time.process_time_ns() - processor) / elapsed
        return {Quantity.CALL: elapsed / 1000 / calls, Quantity.SHARE: share}

    return contestant


def bare_bcrypt(cost: int) -> Contestant:
    """What everything is measured against: one check by the library itself."""
    hashed = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(cost))
    return timed(lambda: bcrypt.checkpw(PASSWORD, hashed), calls=1)
