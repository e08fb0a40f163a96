"""Turns of the event loop, of which each is for a few of those who wait."""

import asyncio
from collections import deque
from typing import Final

MOST_AT_A_TURN: Final = 8
"""With one, the turns themselves would take as long as what is done in them."""


class LoopTurns:
    """Lets a few through at each turn of the event loop, in the order in which they came.

    What many ask for at once would otherwise all be done in one turn, and whoever has better reasons to be served, and
    takes several turns, waits for all of it several times.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # which may have ended before the turns of all had come
            self._waiting.clear()
            self._loop = loop
        place = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._pass_on, loop)
        self._waiting.append(place)
        await place

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(MOST_AT_A_TURN, len(self._waiting))):
            place = self._waiting.popleft()
            if not place.done():  # else whoever waited there has gone
                place.set_result(None)
        if self._waiting:
            loop.call_soon(self._pass_on, loop)
