"""What the shared SQL needs of a database, whichever it is."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol, TypeVar

from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.key_store import ChangeWatcher

Result = TypeVar("Result")
Row = tuple[Any, ...]


class Transaction(Protocol):
    """Statements that take effect together or not at all.

    Their parameters are numbered ``$1`` and so on, and times are datetimes.
    """

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """All rows that it gives."""

    async def hold_user(self, user_id: str) -> list[Row]:
        """The row of the user of whom nobody else changes anything from here to the end."""

    async def hold_ledger(self) -> None:
        """Let nobody else add to the ledger from here to the end."""

    async def tell_processes(self) -> None:
        """At the end, have every process look again at whatever it is answering, as far as it hears of it."""


Work = Callable[[Transaction], Awaitable[Result]]


class SqlDatabase(Protocol):
    """Either method raises StoreUnavailableError when the database does not answer."""

    async def read(self, make: Callable[[Row], Result], statement: str, *values: object) -> list[Result]: ...

    async def write(self, work: Work[Result]) -> Result:
        """Do the work in one transaction, which runs to its end even when the caller is cancelled half-way.

        It may be done more than once, each time in a new transaction, of which the last counts.
        """


class Writes:
    """Those in progress, which go on when whoever asked for them goes away.

    Cut short, one of them would leave its transaction open, or nobody would know how it ended.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._watcher: ChangeWatcher | None = None
        self._closing = False

    def watch(self, watcher: ChangeWatcher) -> None:
        """Have this one told of them, too."""
        self._watcher = watcher

    def changing(self) -> AbstractContextManager[None]:
        """Around what changes something."""
        return nullcontext() if self._watcher is None else self._watcher.changing()

    def hear_of_others(self) -> None:
        if self._watcher is not None:
            self._watcher.look_soon()

    def check_open(self) -> None:
        """
        Raises:
            StoreUnavailableError: There are to be no more of them.
        """
        if self._closing:
            raise StoreUnavailableError("the database is being closed")

    async def run(self, write: Coroutine[Any, Any, Result]) -> Result:
        """Its result, or its error."""
        task = asyncio.create_task(write)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait for those that have begun; there will be no others."""
        self._closing = True
        if self._running:
            await asyncio.wait(self._running)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        with suppress(asyncio.CancelledError):
            task.exception()  # looked at, or else asyncio logs it where the caller has gone away
