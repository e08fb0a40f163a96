"""Whether whoever asked still waits for the answer."""

import anyio
from starlette.types import Receive


class Presence:
    """Whether the client of one request is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False

    async def cancel_when_gone(self, scope: anyio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        scope.cancel()
