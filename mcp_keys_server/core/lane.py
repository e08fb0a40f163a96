"""A lane for work that strangers can cause: one at a time, few that wait, and nobody before their turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from mcp_keys_server.core.errors import TooBusyError

MOST_WAITING: Final = 64
MOST_WAITING_FOR_ONE: Final = 2


class Lane:
    """Turns that are taken one after the other, by name. The names take turns, so that whoever fills the places of one
    name delays another name by one turn and no more.
    """

    def __init__(self, *, most: int = MOST_WAITING, most_for_one: int = MOST_WAITING_FOR_ONE) -> None:
        self._most = most
        self._most_for_one = most_for_one
        self._taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Those with the next turn first; no name without somebody who waits."""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """
        Raises:
            TooBusyError: Too many wait already, in all or under this name.
        """
        if self._taken:
            await self._wait(name)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, name: str) -> None:
        everybody = sum(map(len, self._waiting.values()))  # of at most so many names
        if everybody >= self._most or len(self._waiting.get(name, ())) >= self._most_for_one:
            raise TooBusyError
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(name, place)
            else:  # the turn had come at the same moment
                self._pass_on()
            raise

    def _leave(self, name: str, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(name, deque())
        if place in places:
            places.remove(place)
        if not places:
            self._waiting.pop(name, None)

    def _pass_on(self) -> None:
        """Give the turn to the next, or to nobody. It is never free in between, so nobody overtakes."""
        while self._waiting:
            name = next(iter(self._waiting))
            places = self._waiting.pop(name)
            place = places.popleft()
            if places:
                self._waiting[name] = places  # at the end
            if not place.cancelled():  # else whoever waited there is just going
                place.set_result(None)
                return
        self._taken = False
