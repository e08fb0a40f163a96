"""A program behind an alias: for each of the users who use it, a process of their own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

import anyio
from anyio import to_thread
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.answers import SESSION_NOT_FOUND, TRY_AGAIN, refusal
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.announcements import Announcements
from mcp_keys_server.server.gateway.programs.child_family import ProcessTable
from mcp_keys_server.server.gateway.programs.child_process import Child, spawned
from mcp_keys_server.server.gateway.programs.gateway_user import GatewayUser
from mcp_keys_server.server.gateway.programs.open_calls import OpenCalls
from mcp_keys_server.server.gateway.programs.process_habits import Habits
from mcp_keys_server.server.gateway.programs.program_relay import Relay, Surroundings
from mcp_keys_server.server.gateway.programs.program_spawn import era, program_spawn
from mcp_keys_server.server.gateway.programs.sessions import SECONDS_OF_AN_IDLE_SESSION
from mcp_keys_server.server.gateway.programs.user_process import UserProcess
from mcp_keys_server.upstreams import ProgramUpstream

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SWEEPS: Final = 60
SECONDS_TO_RETRY_AFTER: Final = 5


@dataclass(frozen=True, slots=True)
class Ground:
    """What all programs stand on."""

    folder: Path
    """Where they keep what they write."""
    uids: range | None
    """Those they run as; None: as this process does."""
    processes: ProcessTable
    security: TransportSecuritySettings
    holds_key: Callable[[str], bool]


class ProgramServer:
    """The ASGI application behind one alias."""

    def __init__(self, upstream: ProgramUpstream, around: Surroundings, ground: Ground, before: anyio.Event) -> None:
        """``before`` is set when nothing runs any more of what stood here before, in the same folders and, where each
        has one of its own, as the same users.
        """
        self._upstream = upstream
        self._around = around
        self._ground = ground
        self._before = before
        self._users: dict[str, GatewayUser] = {}
        self._new_users: asyncio.Queue[GatewayUser] = asyncio.Queue()

    @property
    def processes(self) -> Mapping[str, UserProcess]:
        """By user id."""
        return {user_id: user.process for user_id, user in self._users.items()}

    async def run(self) -> None:
        """Keep the processes of all users, until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._sweep)
                while True:
                    # Begun here and not by the request that needs it, whose context would be theirs for all their life.
                    tasks.start_soon((await self._new_users.get()).keep)
        finally:
            for user in self._users.values():
                user.leave()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user_id = principal_of(scope).user_id
        if scope["method"] != "POST" and user_id not in self._users:
            await SESSION_NOT_FOUND(scope, receive, send)
            return
        user = self._users.get(user_id) or self._welcome(user_id)
        # Streams on which nothing is asked take nothing from calls, nor does the end of a session.
        alike = ("POST",) if scope["method"] == "POST" else ("GET", "DELETE")
        if user.open_requests(*alike) >= self._upstream.calls_at_once:
            await self._too_many(scope, receive, send)
            return
        try:
            await user.answer(scope, receive, send)
        except UpstreamError as error:
            after = str(SECONDS_TO_RETRY_AFTER)
            await refusal(503, str(error), code=TRY_AGAIN, retry_after=after)(scope, receive, send)

    async def _too_many(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._upstream.calls_at_once
        message = f"You have {most} calls of '{self._around.alias}' open, which is as many as there may be at once."
        await refusal(429, message, code=TRY_AGAIN, retry_after="1")(scope, receive, send)

    def _welcome(self, user_id: str) -> GatewayUser:
        around, upstream = self._around, self._upstream
        label = f"{around.alias} of {user_id}"
        calls = OpenCalls(around.alias, seconds=upstream.call_seconds, holds_key=self._ground.holds_key)
        habits = Habits(
            spawned=partial(self._spawned, user_id),
            make_room=self._make_room,
            note_error=partial(around.usage.note_error, around.alias, user_id),
            start_seconds=upstream.start_seconds,
            idle_seconds=upstream.idle_seconds,
            mode=era(upstream),
        )
        announcements = Announcements()
        process = UserProcess(label, calls, announcements, habits)
        relay = Relay(around, user_id, calls, announcements, process.in_use)
        user = GatewayUser(process, relay, self._ground.security)
        self._users[user_id] = user
        self._new_users.put_nowait(user)
        return user

    @asynccontextmanager
    async def _spawned(self, user_id: str) -> AsyncIterator[Child]:
        ground = self._ground
        await self._before.wait()
        spawn = await to_thread.run_sync(
            program_spawn, self._around.alias, self._upstream, user_id, ground.folder, ground.uids
        )
        async with spawned(spawn, ground.processes) as child:
            yield child

    async def _make_room(self) -> None:
        """
        Raises:
            UpstreamError: As many run as may, and all of them are in use.
        """
        while True:
            running = [user.process for user in self._users.values() if user.process.takes_room]
            if len(running) <= self._upstream.max_processes:  # with the one that is about to start
                return
            idle = [process for process in running if not process.is_in_use]
            if not idle:
                raise UpstreamError(
                    f"As many processes of '{self._around.alias}' run as the operator allows, and all of them are in "
                    "use. Try again in a few seconds."
                )
            # Others may have waited for the same one to make room, so it is counted again.
            await min(idle, key=lambda process: process.idle_since).stop()

    async def _sweep(self) -> None:
        while True:
            await anyio.sleep(SECONDS_BETWEEN_SWEEPS)
            self.forget_idle(SECONDS_OF_AN_IDLE_SESSION)

    def forget_idle(self, seconds: float) -> None:
        """Forget the users who have not asked for anything for so long, and nothing of whom runs."""
        for user_id, user in list(self._users.items()):
            idle = monotonic() - user.last_used >= seconds
            if idle and not user.is_waiting and not user.process.takes_room:
                del self._users[user_id]
                user.leave()
