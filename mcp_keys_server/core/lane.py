"""A lane for work that strangers can cause: few at a time, few that wait, and nobody before their turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from mcp_keys_server.core.errors import TooBusyError

MOST_WAITING: Final = 64
MOST_WAITING_FOR_ONE: Final = 2


@dataclass(slots=True)
class _Crowd:
    """Those who wait and come from one place."""

    waiting: int = 0
    places: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)
    """By name, those with the next turn first; no name without somebody who waits."""


class Lane:
    """Turns that are taken one after the other, so many at a time, by crowd and name. The crowds take turns, and in
    each of them the names do: whoever fills the places of one name delays another name by one turn and no more, and
    whoever fills those of one crowd with all names that there are delays another crowd by no more than that.
    """

    def __init__(self, *, at_once: int = 1, most: int = MOST_WAITING, most_for_one: int = MOST_WAITING_FOR_ONE) -> None:
        self._free = at_once
        self._most = most
        self._most_for_one = most_for_one
        self._crowds: dict[str, _Crowd] = {}
        """That with the next turn first; none without somebody who waits."""

    @asynccontextmanager
    async def turn(self, name: str, *, crowd: str = "") -> AsyncIterator[None]:
        """
        Raises:
            TooBusyError: Too many of this crowd wait already, in all or under this name.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(name, crowd)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, name: str, crowd: str) -> None:
        others = self._crowds.get(crowd, _Crowd())
        if others.waiting >= self._most or len(others.places.get(name, ())) >= self._most_for_one:
            raise TooBusyError
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        others.places.setdefault(name, deque()).append(place)
        others.waiting += 1
        self._crowds[crowd] = others
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(name, crowd, place)
            else:  # the turn had come at the same moment
                self._pass_on()
            raise

    def _leave(self, name: str, crowd: str, place: asyncio.Future[None]) -> None:
        others = self._crowds.get(crowd, _Crowd())
        places = others.places.get(name, deque())
        if place not in places:
            return
        places.remove(place)
        others.waiting -= 1
        if not places:
            del others.places[name]
        if not others.waiting:
            del self._crowds[crowd]

    def _pass_on(self) -> None:
        """Give the turn to the next, or to nobody. It is never free in between, so nobody overtakes."""
        while self._crowds:
            place = self._next_place()
            if not place.cancelled():  # else whoever waited there is just going
                place.set_result(None)
                return
        self._free += 1

    def _next_place(self) -> asyncio.Future[None]:
        crowd = next(iter(self._crowds))
        others = self._crowds.pop(crowd)
        name = next(iter(others.places))
        places = others.places.pop(name)
        place = places.popleft()
        others.waiting -= 1
        if places:
            others.places[name] = places  # at the end
        if others.waiting:
            self._crowds[crowd] = others  # the same
        return place
