"""Which of several hosts is the primary, also while one of them takes connections and never answers."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

import asyncpg

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SECONDS_BEFORE_THE_NEXT: Final = 0.5
"""A host that takes longer to answer is not waited for alone."""


async def first_primary(hosts: Sequence[Callable[[], Coroutine[Any, Any, _Connection]]]) -> _Connection:
    """The connection to the first that proves to be the primary. One after the other is asked, each when the one before
    it has failed or takes its time: a machine that is gone says nothing, and would be all that is ever waited for.

    Raises:
        asyncpg.TargetServerAttributeNotMatched: Each of them is a standby.
        OSError: None can be reached, or what the driver says of another trouble.
    """
    others = iter(hosts)
    asked: list[asyncio.Task[_Connection]] = []
    waiting: set[asyncio.Task[_Connection]] = set()
    try:
        while (host := next(others, None)) is not None or waiting:
            if host is not None:
                asked.append(asyncio.create_task(host()))
                waiting.add(asked[-1])
            patience = None if host is None else SECONDS_BEFORE_THE_NEXT
            answered, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in answered:
                if task.exception() is None:
                    asked.remove(task)
                    return task.result()
    finally:
        for task in asked:
            task.cancel()
            task.add_done_callback(_let_go)
    raise _most_telling([task.exception() for task in asked])


def _let_go(task: "asyncio.Task[_Connection]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()


def _most_telling(errors: Sequence[BaseException | None]) -> BaseException:
    """That a host is a standby says little where another one, which may be the primary, has not answered."""
    told = [error for error in errors if error is not None]
    return next((error for error in told if not isinstance(error, asyncpg.TargetServerAttributeNotMatched)), told[0])
