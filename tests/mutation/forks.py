"""Work in processes that are forks of this one, so many at a time and each for so long."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

Task = TypeVar("Task")

BROKE_DOWN = 99


def in_forks(
    tasks: Iterable[Task], work: Callable[[Task], int], *, at_once: int, of_processor: float, of_clock: float
) -> Iterator[tuple[Task, int | None]]:
    """Each task with what its work came to, as soon as it is known; None for work that took too many seconds, of the
    processor or, where it only waits, of the clock.
    """
    waiting = iter(tasks)
    running: dict[int, Task] = {}
    while True:
        while len(running) < at_once and (task := next(waiting, None)) is not None:
            running[_forked(work, task, (of_processor, of_clock))] = task
        if not running:
            return
        time.sleep(0.002)
        for process in list(running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)  # what its tests have started and left
                yield running.pop(process), os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def _forked(work: Callable[[Task], int], task: Task, limits: tuple[float, float]) -> int:
    process = os.fork()
    if process:
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(process, process)  # here as well, so that it is so before either goes on
        return process
    code = BROKE_DOWN
    try:
        with suppress(PermissionError):
            os.setpgid(0, 0)
        for timer, its_signal, limit in zip(
            (signal.ITIMER_PROF, signal.ITIMER_REAL), (signal.SIGPROF, signal.SIGALRM), limits, strict=True
        ):
            signal.signal(its_signal, signal.SIG_DFL)
            signal.setitimer(timer, limit)
        code = work(task)
    except BaseException:  # noqa: BLE001 - a fork never goes on with what is its parent's
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)
