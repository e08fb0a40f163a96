"""Several processes that serve on one socket, and the one that keeps them."""

import asyncio
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.http_service import SECONDS_TO_FINISH
from mcp_keys_server.settings import SettingsError
from mcp_keys_server.upstreams import AnyUpstream, ProgramUpstream

logger = logging.getLogger(__name__)

SECONDS_TO_STOP: Final = SECONDS_TO_FINISH + 4
"""After that a worker that was told to stop is killed: what it had to finish and a write that waits take less."""
SECONDS_THAT_COUNT: Final = 10
"""A worker that has lived for so long did not die of its start."""
LONGEST_PAUSE: Final = 30
_PID_BYTES: Final = 4
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_PASSED_ON: Final = (*_STOPS, signal.SIGHUP)


class WorkersKilledError(McpKeysError):
    """Not all workers stopped as they should."""

    def __init__(self) -> None:
        super().__init__("the server was stopped, but not all of its workers ended in order")


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker has of the process that keeps it."""

    ready: int
    """Where it says that it is ready."""
    lifeline: int
    """What ends when that process does."""

    def is_ready(self) -> None:
        """Called on the worker's event loop when it would obey SIGTERM and SIGHUP, which have been held back so far.

        SIGINT stays so: a terminal sends it to everybody, and what it asks for the keeper passes on. Obeyed here too,
        it would be the second order to stop, at which a worker drops all that it is doing.
        """
        asyncio.get_running_loop().add_reader(self.lifeline, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
        os.write(self.ready, os.getpid().to_bytes(_PID_BYTES, "big"))

    def _stop(self) -> None:
        # The keeper was killed: a worker without one would hold the port and obey nobody.
        asyncio.get_running_loop().remove_reader(self.lifeline)
        signal.raise_signal(signal.SIGTERM)


def check_workers(count: int, upstreams: Mapping[str, AnyUpstream]) -> None:
    """
    Raises:
        SettingsError: There are to be several, where there can be only one.
    """
    if count > 1 and not hasattr(os, "fork"):
        raise SettingsError("workers: this system has no fork, so there can be only 1")
    program = next((alias for alias, upstream in upstreams.items() if isinstance(upstream, ProgramUpstream)), None)
    if count > 1 and program is not None:
        # A user's process is one worker's, and the next request of theirs may come to another.
        raise SettingsError(
            f"upstreams.{program}: a program is run by one process; set workers to 1, or give this alias a url"
        )


def keep_workers(count: int, announce: Callable[[], None]) -> Worker | None:
    """Fork so many workers and keep them until SIGINT or SIGTERM; announce it when all of them would obey these.

    It returns in every worker, which goes on to serve, and once more, with None, when all have stopped. There must be
    no event loop and no connection, which no two processes can share.

    Raises:
        WorkersKilledError: Some had to be killed, or ended with an error.
    """
    wait_for_other_threads()
    keeper = _Keeper(count, announce)
    with keeper.catching_signals():
        return keeper.run()


def wait_for_other_threads() -> None:
    # Those of an event loop before have ended or are about to: fork copies the locks that they hold, and not them.
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(SECONDS_TO_STOP)


@dataclass(frozen=True, slots=True)
class _Place:
    """That of one worker, and of whoever comes after it."""

    since: float
    """When the worker began; while there is none, when the next one does."""
    early_deaths: int = 0


class _Keeper:
    def __init__(self, count: int, announce: Callable[[], None]) -> None:
        self._count = count
        self._announce: Callable[[], None] | None = announce
        self._ready, self._to_ready = os.pipe()
        self._lifeline, self._own_end_of_lifeline = os.pipe()
        self._signals, self._to_signals = os.pipe()
        os.set_blocking(self._to_signals, False)
        self._working: dict[int, _Place] = {}
        self._ready_ones: set[int] = set()
        self._waiting = [_Place(since=monotonic())] * count
        self._kill_at: float | None = None
        self._orderly = True
        self._has_reloaded = False

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        # All that the handlers do is to wake the loop below: what has to be done is done there, one thing at a time.
        numbers, keeper = (*_PASSED_ON, signal.SIGCHLD), os.getpid()
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        signal.set_wakeup_fd(self._to_signals, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                # What is held back for a worker, until it has handlers of its own, would be dropped if it were ignored,
                # as nohup has SIGHUP.
                if os.getpid() == keeper or handler is not signal.SIG_IGN:
                    signal.signal(number, handler)

    def run(self) -> Worker | None:
        while self._working or self._kill_at is None:
            for place in [place for place in self._waiting if place.since <= monotonic()]:
                self._waiting.remove(place)
                worker = self._fork(place.early_deaths)
                if worker is not None:
                    return worker
            readable, _, _ = select.select([self._signals, self._ready], [], [], self._seconds_to_wait())
            if self._ready in readable:
                self._note_ready_ones()
            if self._signals in readable:
                self._obey(set(os.read(self._signals, 1024)))
            if self._kill_at is not None and self._kill_at <= monotonic():
                self._tell(signal.SIGKILL)
            self._bury()
        if not self._orderly:
            raise WorkersKilledError
        return None

    def _seconds_to_wait(self) -> float | None:
        moments = [place.since for place in self._waiting]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.0, min(moments) - monotonic()) if moments else None

    def _fork(self, early_deaths: int) -> Worker | None:
        sys.stdout.flush()
        # Held back until the worker has handlers of its own, so that none is lost and none runs the keeper's.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        pid = _fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for end in (self._ready, self._own_end_of_lifeline, self._signals, self._to_signals):
                os.close(end)
            return Worker(self._to_ready, self._lifeline)
        if pid is None:
            self._waiting.append(_Place(monotonic() + LONGEST_PAUSE, early_deaths))
        else:
            self._working[pid] = _Place(monotonic(), early_deaths)
            if self._has_reloaded:  # and this one has begun with what was so before
                os.kill(pid, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None

    def _note_ready_ones(self) -> None:
        said = os.read(self._ready, 1024 * _PID_BYTES)
        self._ready_ones |= {
            int.from_bytes(said[at : at + _PID_BYTES], "big") for at in range(0, len(said), _PID_BYTES)
        }
        if self._announce is not None and len(self._ready_ones & self._working.keys()) == self._count:
            self._announce()
            self._announce = None

    def _obey(self, numbers: set[int]) -> None:
        if signal.SIGHUP in numbers:
            self._has_reloaded = True
            self._tell(signal.SIGHUP)
        if not numbers.isdisjoint(_STOPS):
            self._stop()

    def _stop(self) -> None:
        self._waiting.clear()
        self._kill_at = self._kill_at or monotonic() + SECONDS_TO_STOP
        # SIGTERM for SIGINT too: a terminal sends that to the workers as well, and at the second one they drop all.
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._working:
            os.kill(pid, number)

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._note_end(found[0], os.waitstatus_to_exitcode(found[1]))

    def _note_end(self, pid: int, code: int) -> None:
        place = self._working.pop(pid)
        self._ready_ones.discard(pid)
        if self._kill_at is not None:
            self._orderly = self._orderly and code == 0
            return
        now = monotonic()
        deaths = 0 if now - place.since >= SECONDS_THAT_COUNT else place.early_deaths
        pause = min(2 ** (deaths - 1), LONGEST_PAUSE) if deaths else 0
        logger.error("a worker ended: pid=%d code=%d; another one starts in %d s", pid, code, pause)
        self._waiting.append(_Place(now + pause, deaths + 1))


def _fork() -> int | None:
    try:
        return os.fork()
    except OSError as error:  # so many processes or so little memory; those that there are go on
        logger.error("no worker can be started: %s; tried again in %d s", error.strerror, LONGEST_PAUSE)  # noqa: TRY400 - a sentence is enough
        return None
