"""One MCP server that runs as a process of this machine, contained: what it costs is bounded, and it ends when it
should, with all that it has started.

Made for Linux. Elsewhere nobody looks what a child uses, and of what it started only its process group is ended.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final

import anyio

from mcp_keys_server.server.gateway.programs.child_family import SECONDS_BETWEEN_LOOKS, Family, ProcessTable, death_of
from mcp_keys_server.server.gateway.programs.child_start import MEBIBYTE, ChildNotStartedError, Spawn, start
from mcp_keys_server.server.gateway.programs.child_talk import Streams, Talk

__all__ = ["Child", "ChildNotStartedError", "Spawn", "spawned"]

SECONDS_TO_FINISH: Final = 2.0
"""After its input has ended, as the protocol asks, before it is told to stop."""
SECONDS_TO_OBEY: Final = 1.0
"""After it was told to stop, before it is killed."""
SECONDS_TO_VANISH: Final = 1.5
"""After it was killed, with its family, before it is left to the system."""
SECONDS_OF_LAST_WORDS: Final = 0.5
"""In which is read what it wrote before it ended: what has left its session may hold the pipe open for ever."""


@asynccontextmanager
async def spawned(spawn: Spawn, processes: ProcessTable | None = None) -> AsyncIterator["Child"]:
    """The program, running. At most five seconds after the end of the block it is gone, whatever it does against it.

    Whoever runs several hands the same table to all, so that they are watched at the price of one.

    Raises:
        ChildNotStartedError: It cannot be run.
    """
    child = Child(spawn, start(spawn), processes or ProcessTable())
    try:
        async with anyio.create_task_group() as tasks:
            for task in child.tasks:
                tasks.start_soon(task)
            try:
                yield child
            finally:
                with anyio.CancelScope(shield=True):
                    await child.stop()
                tasks.cancel_scope.cancel()
    finally:
        child.close()


class Child:
    """A running program. It is a transport of the SDK too, once: ``async with Client(child)``."""

    def __init__(self, spawn: Spawn, process: subprocess.Popen[bytes], processes: ProcessTable) -> None:
        self.pid = process.pid
        self._spawn = spawn
        self._process = process
        self._processes = processes
        self._family = Family(process.pid, None if spawn.shares_uid or spawn.uid == os.geteuid() else spawn.uid)
        self._talk = Talk(spawn, process, self._end)
        self._why: str | None = None
        self._gone = anyio.Event()
        self._minding = anyio.CancelScope(shield=True)
        self.tasks = (self._talk.run, self._mind, self._watch)
        """What is to be run beside it."""

    async def __aenter__(self) -> Streams:
        return self._talk.streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._talk.streams:
            stream.close()

    async def ended(self) -> str:
        """Wait until it and all that it started are gone, and say why: a part of a sentence, such as "it ended with
        exit code 1".
        """
        await self._gone.wait()
        assert self._why  # noqa: S101 - there is no end without a reason
        return self._why

    async def stop(self) -> None:
        """Bring it to its end: in peace, by order, by force."""
        self._talk.hang_up()
        for seconds, order in ((SECONDS_TO_FINISH, signal.SIGTERM), (SECONDS_TO_OBEY, signal.SIGKILL)):
            await self._gone_within(seconds)
            self._end("it was stopped", order)
        await self._gone_within(SECONDS_TO_VANISH)
        self._minding.cancel()  # of what not even SIGKILL could end

    def close(self) -> None:
        self._talk.close()

    async def _mind(self) -> None:
        """See it die, and nothing of it stay behind."""
        with self._minding:
            try:
                await death_of(self.pid)
                await self._family.kill(self._processes)
                code = self._process.wait()
                self._why = self._why or _how(code)
            finally:
                self._gone.set()
            await self._talk.hear_out(SECONDS_OF_LAST_WORDS)

    async def _watch(self) -> None:
        """See that it uses no more than it may."""
        most_memory, most_processes = self._spawn.memory_bytes, self._spawn.most_processes
        while True:
            await anyio.sleep(SECONDS_BETWEEN_LOOKS)
            family = self._family.among(await self._processes.recent())
            if sum(process.memory_bytes for process in family) > most_memory:
                self._end(f"it used more than {most_memory / MEBIBYTE:g} MB of memory")
            if len(family) > most_processes:
                self._end(f"it started more than {most_processes} processes")

    async def _gone_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._gone.wait()
        return self._gone.is_set()

    def _end(self, why: str, order: signal.Signals = signal.SIGKILL) -> None:
        if not self._gone.is_set():  # its number may be another's by now
            self._why = self._why or why
            self._family.signal(order)


def _how(code: int) -> str:
    return f"it ended with exit code {code}" if code >= 0 else f"it was killed by signal {-code}"
