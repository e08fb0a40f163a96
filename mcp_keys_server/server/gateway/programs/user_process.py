"""One user's process of a program: started when it is needed, stopped when it is not, and again when it ended."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import anyio
from mcp.client.client import Client
from mcp_types import CONNECTION_CLOSED, Implementation

import mcp_keys_server
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.gateway.errors import not_there
from mcp_keys_server.server.gateway.programs.announcements import Announcements
from mcp_keys_server.server.gateway.programs.child_process import Child
from mcp_keys_server.server.gateway.programs.handshake_failure import code_of, explained, knows_the_later_era_alone
from mcp_keys_server.server.gateway.programs.open_calls import OpenCalls
from mcp_keys_server.server.gateway.programs.process_habits import Habits, State

logger = logging.getLogger(__name__)

SECONDS_THAT_COUNT: Final = 10
"""A process that has lived for so long did not end of its start."""
LONGEST_PAUSE: Final = 60
SECONDS_TO_SAY_WHY: Final = 2
_OVER: Final = "this server has another configuration now, or ends. Try again"
_WHO_CALLS: Final = Implementation(name="mcp-keys-server", version=mcp_keys_server.__version__)


class UserProcess:
    """Everything of it happens in one task, ``keep``, because the SDK's client has to end in the task that began it."""

    def __init__(
        self, label: str, calls: OpenCalls, announcements: Announcements, habits: Habits, *, clock: Clock = utc_now
    ) -> None:
        """The label stands in the log."""
        self._label = label
        self._calls = calls
        self._announcements = announcements
        self._habits = habits
        self._clock = clock
        self._mode = habits.mode
        self._wanted = asyncio.Event()
        self._used = asyncio.Event()
        self._buried = asyncio.Event()
        self._running = asyncio.Event()
        self._starting: asyncio.Future[Client] | None = None
        self._client: Client | None = None
        self._users = 0
        self._told_to_stop = False
        self._is_over = False
        self._failure: str | None = None
        self._said: str | None = None
        """What its users are told of it, if that is less."""
        self._early_deaths = 0
        self._not_before = 0.0
        self.state = State.STOPPED
        self.since = clock()
        """When it came to be in this state."""
        self.pid: int | None = None
        self.idle_since = monotonic()

    @property
    def is_in_use(self) -> bool:
        return self._users > 0

    @property
    def takes_room(self) -> bool:
        return self._starting is not None or self.state not in (State.STOPPED, State.FAILED)

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[Client]:
        """The running upstream, which is not stopped for being idle meanwhile.

        Raises:
            UpstreamError: It does not start, or ended and is not to be started again yet.
        """
        self._users += 1
        self._used.set()
        try:
            yield self._client or await self._started()
        finally:
            self._users -= 1
            self.idle_since = monotonic()
            self._used.set()

    async def _started(self) -> Client:
        if self._is_over:
            raise not_there(_OVER)
        if self._starting is None:
            pause = self._not_before - monotonic()
            if pause > 0:
                raise not_there(f"{self._said or self._failure}. Try again in {pause:.0f} s")
            self._starting = asyncio.get_running_loop().create_future()
            try:
                await self._habits.make_room()
            except BaseException:
                self.let_down("too many others run, or whoever wanted it to be started is gone")
                raise
            self._wanted.set()
        return await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Stop it, if it runs, until it is needed again: perhaps at once, which is not waited for."""
        if not self.takes_room:
            return
        self._told_to_stop = True
        self._used.set()
        self._buried.clear()
        await self._buried.wait()

    async def keep(self) -> None:
        """Start it whenever it is wanted, until cancelled. Whoever wants it then, or waits for it, is told."""
        try:
            await self._keep()
        finally:
            self._is_over = True
            self.let_down(_OVER)
            self._buried.set()

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._failure = self._said = None
            began = monotonic()
            try:
                await self._live_in_some_era()
            except McpKeysError as error:  # of folders, programs and accounts of the operator's
                self._failure, self._said = str(error), "it cannot be started; tell its operator"
            except Exception as error:
                # Outermost here: whatever becomes of one process, the next one is started when it is wanted.
                logger.debug("upstream %s left an error behind", self._label, exc_info=True)
                self._ends_for(explained(error))
            finally:
                self._client = self.pid = None
            self._bury(monotonic() - began)
            self._told_to_stop = False
            self._buried.set()

    async def _live_in_some_era(self) -> None:
        try:
            await self._live()
        except Exception as error:
            if self._mode != "legacy" or not knows_the_later_era_alone(error):
                raise
            self._mode, self._failure = "auto", None
            await self._live()

    async def _live(self) -> None:
        self._become(State.STARTING)
        self._running.clear()
        async with self._habits.spawned() as child, anyio.create_task_group() as tasks:
            self.pid = child.pid
            tasks.start_soon(self._note_end, child, tasks.cancel_scope)
            tasks.start_soon(self._give_up, tasks.cancel_scope)
            client = Client(
                child,
                client_info=_WHO_CALLS,
                # Its lists differ by user, and a cache that says "public" would not know.
                cache=None,
                mode=self._mode,
                sampling_callback=self._calls.on_sampling,
                elicitation_callback=self._calls.on_elicitation,
                logging_callback=self._announcements.on_log,
                message_handler=self._announcements.on_message,
            )
            try:
                async with client:
                    await self._announcements.on_start(client)
                    self._run(client)
                    await self._until_idle()
                    self._client = None
                    self._become(State.STOPPING)
            except Exception as error:
                if code_of(error) in (CONNECTION_CLOSED, None):  # of what it has ended is said there
                    with anyio.move_on_after(SECONDS_TO_SAY_WHY):
                        self._ends_for(await child.ended())
                raise
            tasks.cancel_scope.cancel()

    async def _note_end(self, child: Child, life: anyio.CancelScope) -> None:
        self._ends_for(await child.ended())
        self._client = None  # at once, so that no call begins on what has ended
        life.cancel()

    def _ends_for(self, reason: str) -> None:
        if self._failure is None:  # what came first is what it ended of
            self._failure = reason

    async def _give_up(self, life: anyio.CancelScope) -> None:
        with anyio.move_on_after(self._habits.start_seconds):
            await self._running.wait()
            return
        self._ends_for(f"it did not answer within {self._habits.start_seconds:g} s of its start")
        life.cancel()

    def _run(self, client: Client) -> None:
        self._client = client
        self._become(State.RUNNING)
        self.idle_since = monotonic()
        assert self._starting is not None  # noqa: S101 - it was started because somebody waits for it
        self._starting.set_result(client)
        self._starting = None
        self._running.set()
        logger.info("upstream %s runs: pid=%s protocol=%s", self._label, self.pid, client.protocol_version)

    async def _until_idle(self) -> None:
        while not self._told_to_stop:
            self._used.clear()
            left = self.idle_since + self._habits.idle_seconds - monotonic()
            if not self._users and left <= 0:
                return
            with anyio.move_on_after(None if self._users else left):
                await self._used.wait()

    def _bury(self, lived: float) -> None:
        if self._failure is None:
            self._early_deaths = 0
            logger.info("upstream %s was stopped", self._label)
            self._become(State.STOPPED)
            return
        was_well = self.state is not State.STARTING and lived >= SECONDS_THAT_COUNT
        self._early_deaths = 0 if was_well else self._early_deaths + 1
        pause = min(2 ** (self._early_deaths - 1), LONGEST_PAUSE) if self._early_deaths else 0
        self._not_before = monotonic() + pause
        logger.warning("upstream %s: %s; it can be started again in %d s", self._label, self._failure, pause)
        self._habits.note_error(self._failure)
        if pause:
            self._wanted.clear()
            self.let_down(self._said or self._failure)
        self._become(State.FAILED)

    def let_down(self, why: str) -> None:
        """Tell those who wait for its start that there is none."""
        if self._starting is not None:
            self._starting.set_exception(not_there(why))
            self._starting.exception()  # looked at, in case nobody waits any more
            self._starting = None

    def _become(self, state: State) -> None:
        self.state = state
        self.since = self._clock()
