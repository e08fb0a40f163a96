"""Cores of the server's own, for measuring it and not what it is measured with. Linux only."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

LOWEST_PRIORITY: Final = 19


def halves() -> tuple[Collection[int], Collection[int]]:
    """For a server, and for all else. Of a single core there are none."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[: len(cores) // 2], cores[len(cores) // 2 :] if len(cores) > 1 else []


@contextmanager
def on(cores: Collection[int]) -> Iterator[None]:
    """What is begun in the block, and this process meanwhile, has these cores; without any: those that it has."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def yield_to_others() -> None:
    """From now on: for a flood that shares a core with those whose waiting is measured, who would wait for it."""
    os.nice(LOWEST_PRIORITY)
