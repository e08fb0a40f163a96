"""Turns of the event loop, of which each is for a few of those who wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Final

MOST_AT_A_TURN: Final = 8
"""With one, the turns themselves would take as long as what is done in them."""
LONGEST_PAUSE: Final = 0.1
"""Seconds."""


class LoopTurns:
    """Lets a few through at each turn of the event loop, in the order in which they came.

    What many ask for at once would otherwise all be done in one turn, and whoever has better reasons to be served, and
    takes several turns, waits for all of it several times. While there is anybody who has them, there is a pause after
    each turn for as long as the event loop has worked since the turn before: it is theirs, and that of the threads that
    work for them.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._preferred: set[object] = set()
        self._is_passing = False
        """Or pauses, and goes on if there is anybody by then."""
        self._worked = 0.0
        """How long the thread of the event loop had when it was last looked at, in seconds of the processor."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def preferred(self) -> Iterator[Callable[[], None]]:
        """While somebody is served who may have better reasons to be, or until what is given is called."""
        who = object()
        self._preferred.add(who)
        try:
            yield lambda: self._preferred.discard(who)
        finally:
            self._preferred.discard(who)

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # which may have ended before the turns of all had come
            self._waiting.clear()
            self._loop, self._is_passing = loop, False
        place = loop.create_future()
        self._waiting.append(place)
        if not self._is_passing:
            self._is_passing, self._worked = True, thread_time()
            loop.call_soon(self._pass_on, loop)
        await place

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        before, self._worked = self._worked, thread_time()
        for _ in range(min(MOST_AT_A_TURN, len(self._waiting))):
            place = self._waiting.popleft()
            if not place.done():  # else whoever waited there has gone
                place.set_result(None)
        # After those who were let through.
        loop.call_soon(self._pause, loop, min(self._worked - before, LONGEST_PAUSE))

    def _pause(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        if self._preferred:
            loop.call_later(seconds, self._go_on, loop)
        else:
            self._go_on(loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            self._pass_on(loop)
        else:
            self._is_passing = False
