"""What other processes of the machine do while a round runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path

_STATISTICS = Path("/proc/stat")
_USER, _NICE, _SYSTEM, _STOLEN = 0, 1, 2, 7  # columns, as in proc(5)

CAN_BE_SEEN = _STATISTICS.exists()


class Neighbours:
    """Tells how much of a core everybody else has used since it was made; 0 where the system does not say."""

    def __init__(self, seconds_of_ours: Callable[[], float]) -> None:
        self._seconds_of_ours = seconds_of_ours
        self._started = time.perf_counter()
        self._before = self._seconds_of_others()

    def cores_used(self) -> float:
        return max(0.0, self._seconds_of_others() - self._before) / (time.perf_counter() - self._started)

    def _seconds_of_others(self) -> float:
        return _seconds_of_all() - self._seconds_of_ours() if CAN_BE_SEEN else 0.0


def _seconds_of_all() -> float:
    """Processor time of all processes together, and what the hypervisor gave to other machines."""
    columns = [int(column) for column in _STATISTICS.read_text("ascii").splitlines()[0].split()[1:]]
    # Without the interrupts, because those of our own loopback traffic are in no process's time.
    return sum(columns[index] for index in (_USER, _NICE, _SYSTEM, _STOLEN)) / os.sysconf("SC_CLK_TCK")
