"""Clients that keep the server waiting for too long, and are dropped."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Final

from mcp_keys_server.server.http_protocol import HttpProtocol, Owed

logger = logging.getLogger(__name__)

PATIENCE: Final[Mapping[Owed, float]] = {Owed.REQUEST: 15.0, Owed.HEAD: 10.0, Owed.BODY: 30.0, Owed.READING: 30.0}
"""Seconds that a client may take for each."""
MOST_LOOKED_AT: Final = 100
"""At a turn of the event loop, or whoever is in good order waits while very many are looked at."""
MOST_DROPPED: Final = 4
"""At a turn."""


class SlowClients:
    """Those among the connections that still owe at one look what they owed at every look for so long.

    Nothing has to be done for a request: no timer is set and no clock is read. Somebody has to look once a second.
    """

    def __init__(self, connections: Collection[HttpProtocol], patience: Mapping[Owed, float]) -> None:
        self._connections = connections
        self._patience = patience
        self._since: dict[tuple[HttpProtocol, Owed, int], float] = {}
        """When what is owed still was first seen to be."""

    async def drop(self) -> None:
        now = monotonic()
        since: dict[tuple[HttpProtocol, Owed, int], float] = {}
        late: dict[HttpProtocol, Owed] = {}
        for place, connection in enumerate(list(self._connections), 1):
            for owed, number in connection.owed():
                debt = connection, owed, number
                since[debt] = self._since.get(debt, now)
                if now - since[debt] >= self._patience[owed]:
                    late[connection] = owed
            if place % MOST_LOOKED_AT == 0:
                await asyncio.sleep(0)
        self._since = since
        for number, connection in enumerate(late, 1):
            connection.drop()
            if number % MOST_DROPPED == 0:
                await asyncio.sleep(0)
        if late:
            # One line for all of a second, because there may be very many.
            counted = Counter(late.values())
            logger.info("dropped: too slow %s", " ".join(f"{owed}={number}" for owed, number in counted.items()))
