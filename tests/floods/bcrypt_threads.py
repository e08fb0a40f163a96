"""How much of the processor a server's bcrypt has taken, which runs in threads of the lowest priority."""

import os
import sys
from pathlib import Path
from typing import Final

_LOWEST: Final = "19"
# Of the fields behind the name, which may hold anything; see proc_pid_stat(5).
_USER, _SYSTEM, _NICE = 11, 12, 16


def processor_seconds(pid: int) -> float:
    """So far; 0 where nobody can tell."""
    if sys.platform != "linux":
        return 0.0
    stats = (task.joinpath("stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    ticks = sum(int(each[_USER]) + int(each[_SYSTEM]) for each in fields if each[_NICE] == _LOWEST)
    return ticks / os.sysconf("SC_CLK_TCK")
