"""One user of a program: their process, what is relayed to it, and their sessions."""

import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.program_relay import Relay
from mcp_keys_server.server.gateway.programs.sessions import UserSessions
from mcp_keys_server.server.gateway.programs.user_process import UserProcess

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server


TAKEN_AWAY: Final = "The operator has taken this server away or changed it; try again"


class GatewayUser:
    """Lives in one task, ``keep``. What the upstream says of itself is asked once, when it runs for the first time."""

    def __init__(self, process: UserProcess, relay: Relay, security: TransportSecuritySettings) -> None:
        self.process = process
        self._relay = relay
        self._security = security
        self._server: asyncio.Future[Server[Any]] = asyncio.get_running_loop().create_future()
        self._ready = asyncio.Event()
        self._sessions: UserSessions | None = None
        self._scope = anyio.CancelScope()
        self._open: Counter[str] = Counter()
        self.last_used = monotonic()

    @property
    def is_waiting(self) -> bool:
        """Whether one of their requests is open."""
        return self._open.total() > 0

    def open_requests(self, *methods: str) -> int:
        """How many of these HTTP methods are."""
        return sum(self._open[method] for method in methods)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Raises:
            UpstreamError: It has never run and does not start.
        """
        self._open[scope["method"]] += 1
        try:
            if self._sessions is None:
                async with self.process.in_use() as client:
                    if not self._server.done():
                        self._server.set_result(self._relay.server(client))
                await self._ready.wait()
            if self._sessions is None:
                raise UpstreamError(TAKEN_AWAY)
            await self._sessions(scope, receive, send)
        finally:
            self._open[scope["method"]] -= 1
            self.last_used = monotonic()

    async def keep(self) -> None:
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.process.keep)
                sessions = UserSessions(await self._server, self._security)
                async with sessions.run(), self._relay.run():
                    self._sessions = sessions
                    self._ready.set()
                    await anyio.sleep_forever()

    def leave(self) -> None:
        """Whether or not it has begun to live: whoever waits for it is told."""
        self._scope.cancel()
        self.process.let_down(TAKEN_AWAY)
        self._ready.set()
