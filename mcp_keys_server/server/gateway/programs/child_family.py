"""All processes that come of one child: those of its session, and those of its user where it has one of its own."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel

SECONDS_BETWEEN_LOOKS: Final = 1.0
SECONDS_TO_DIE: Final = 2.0
_A_FEW: Final = 50
_PROC: Final = Path("/proc")
# A newline in a process's name is escaped there, so nothing that a process says of itself looks like these lines.
_STATUS = re.compile(rb"^State:\t(\w).*?^Uid:\t(\d+)\t.*?(?:^VmRSS:\s*(\d+) kB$|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    session: int
    uid: int
    memory_bytes: int
    """What it has in the machine's memory; what it shares with others counts for each."""
    is_dead: bool
    """It has ended, and its parent has not asked how."""


class ProcessTable:
    """The processes of this machine, from Linux's /proc. On another system there are none to be seen."""

    def __init__(self) -> None:
        self._seen: Sequence[Process] = ()
        self._seen_at = float("-inf")
        self._looking = anyio.Lock()

    async def recent(self) -> Sequence[Process]:
        """As they were less than a second ago, so that many who watch cost no more than one."""
        async with self._looking:
            if anyio.current_time() - self._seen_at > SECONDS_BETWEEN_LOOKS * 0.9:
                self._seen = await self.now()
                self._seen_at = anyio.current_time()
            return self._seen

    async def now(self) -> Sequence[Process]:
        found = []
        try:
            names = os.listdir(_PROC)  # noqa: PTH208 - a Path for each of thousands would take longer than the look
        except OSError:  # there is no /proc, or no handle to read it with at the moment
            return ()
        for number, pid in enumerate(int(name) for name in names if name.isdecimal()):
            if number % _A_FEW == 0:
                await anyio.lowlevel.checkpoint()
            with suppress(OSError):  # it has gone since
                found.append(_look_at(pid))
        return found


def _look_at(pid: int) -> Process:
    state, uid, kilobytes = _parse_status((_PROC / str(pid) / "status").read_bytes())
    return Process(pid, os.getsid(pid), uid, kilobytes * 1024, is_dead=state in b"ZX")


def _parse_status(status: bytes) -> tuple[bytes, int, int]:
    found = _STATUS.search(status)
    assert found, "every process has a state and a user"  # noqa: S101 - the kernel says so
    return found[1], int(found[2]), int(found[3] or 0)


@dataclass(frozen=True, slots=True)
class Family:
    """The session that a child leads and, where it has a user that is not ours, all that this user runs: a process can
    leave its session, but not its user.
    """

    session: int
    uid: int | None

    def among(self, processes: Sequence[Process]) -> Sequence[Process]:
        return [
            process
            for process in processes
            if process.session == self.session or (process.uid == self.uid and self.uid is not None)
        ]

    def signal(self, which: signal.Signals) -> None:
        """To the process group of the child, all of it at one moment."""
        with suppress(ProcessLookupError, PermissionError):  # nobody is left, or only what runs as somebody mightier
            os.killpg(self.session, which)

    async def kill(self, processes: ProcessTable) -> None:
        """Kill all of them, until nobody is left; after two seconds what cannot be killed is left to the system.

        The child itself must not have been asked yet how it ended: after that its number may become another's.
        """
        with anyio.move_on_after(SECONDS_TO_DIE):
            while True:
                self.signal(signal.SIGKILL)
                await self._kill_by_user()
                left = [process.pid for process in self.among(await processes.now()) if not process.is_dead]
                if not left:
                    return
                for pid in left:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                await anyio.sleep(0.02)

    async def _kill_by_user(self) -> None:
        # What forks all the time is gone before it is seen in a list, so only the system can end it: at one moment, for
        # all that a user runs, when that user asks for it.
        if self.uid is None:
            return
        with suppress(OSError):  # no shell: then those are killed that are seen
            killer = _start_killer(self.uid)
            try:
                await death_of(killer.pid)
            finally:
                killer.kill()  # it may have been stopped by those that it was to kill
                killer.wait()


def _start_killer(uid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ("/bin/sh", "-c", "kill -9 -1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
        user=uid,
        group=uid,
        extra_groups=(),
    )


async def death_of(pid: int) -> None:
    """Wait until this child of ours has ended. How, its parent can ask afterwards; until then its number stays its
    own.
    """
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # another system, an old one, or one handle too many
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, pid, look) is None:  # noqa: ASYNC110, ASYNC222 - a look, and nothing tells of it
            await anyio.sleep(0.1)
        return
    try:
        await anyio.wait_readable(handle)
    finally:
        os.close(handle)
