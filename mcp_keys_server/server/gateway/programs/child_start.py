"""How a child is started: from an argument list without a shell, in a session of its own, with limits of its own."""

import os
import resource
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_keys_server.core.errors import McpKeysError

MEBIBYTE: Final = 1024 * 1024
# Node reserves more than 1 GiB of writable memory for its compiled code before it runs a line, so that less than
# this beside what may be used would stop every program written for it.
RESERVED_BYTES: Final = 2048 * MEBIBYTE
# The system counts threads where the watch counts processes, and Node has about a dozen in each.
THREADS_EACH: Final = 16


class ChildNotStartedError(McpKeysError):
    """The program cannot be run. The message says why, and of its arguments nothing."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """What is to be run, and what it may use."""

    command: tuple[str, ...] = field(repr=False)
    """The program, looked for on the PATH of ``environment``, and its arguments: never from anybody but the operator,
    whose secrets they may hold."""
    environment: Mapping[str, str] = field(repr=False)
    """All of it: nothing of this process's own is added."""
    folder: Path
    uid: int | None
    """The user, and the group of the same number, that it runs as; None is whoever runs this process."""
    label: str
    """For the log."""
    largest_line: int = 4 * MEBIBYTE
    """Bytes of one message of its."""
    memory_bytes: int = 1024 * MEBIBYTE
    most_processes: int = 64
    shares_uid: bool = False
    """Whether others of this user may run beside it, so that its end is not to be the end of all that the user runs."""


def start(spawn: Spawn) -> subprocess.Popen[bytes]:
    """Start it, with pipes that nobody is kept waiting by.

    Raises:
        ChildNotStartedError: It cannot be run.
    """
    limits = _limits(spawn)
    try:
        with _limited(limits):
            process = subprocess.Popen(  # noqa: S603 - what the operator's file says
                spawn.command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=spawn.folder,
                env=dict(spawn.environment),
                start_new_session=True,
                umask=0o077,
                user=spawn.uid,
                group=spawn.uid,
                extra_groups=None if spawn.uid is None else (),
            )
    except (OSError, ValueError) as error:
        raise ChildNotStartedError(_why_not(spawn, error)) from error
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe  # noqa: S101 - all three were asked for
        os.set_blocking(pipe.fileno(), False)
    for which, most in limits.items():
        # So that it cannot lift them itself; where it is another user, this needs CAP_SYS_RESOURCE.
        with suppress(OSError):
            resource.prlimit(process.pid, which, (most, most))
    return process


def _limits(spawn: Spawn) -> dict[int, int]:
    """What the system itself holds it to, and each that it starts: no core file, because that leaves secrets on the
    disk (1 and not 0, as in ``core_file``); a fence against what grows between two looks of the watch; and one against
    endless forks, where its user is its own.
    """
    limits = {resource.RLIMIT_CORE: 1, resource.RLIMIT_DATA: RESERVED_BYTES + 2 * spawn.memory_bytes}
    if spawn.uid is not None:
        limits[resource.RLIMIT_NPROC] = spawn.most_processes * THREADS_EACH
    return {which: _lower(most, resource.getrlimit(which)[0]) for which, most in limits.items()}


@contextmanager
def _limited(limits: Mapping[int, int]) -> Iterator[None]:
    """For the moment of the start they are this process's own, to be inherited: code of ours that ran between fork and
    exec could wait for ever for a lock that another thread held.
    """
    before = {which: resource.getrlimit(which) for which in limits}
    try:
        for which, most in limits.items():
            resource.setrlimit(which, (most, before[which][1]))
        yield
    finally:
        for which, both in before.items():
            resource.setrlimit(which, both)


def _lower(most: int, soft: int) -> int:
    return most if soft == resource.RLIM_INFINITY else min(most, soft)


def _why_not(spawn: Spawn, error: OSError | ValueError) -> str:
    name = Path(spawn.command[0]).name
    if not spawn.folder.is_dir():
        return f"the program {name!r} was not started: its working folder is not there"
    if isinstance(error, FileNotFoundError):
        return (
            f"the program {name!r}, or what runs it, was not found; name it by its full path, or mend PATH in its env"
        )
    if isinstance(error, PermissionError):
        who = "this server" if spawn.uid is None else f"uid {spawn.uid}"
        return (
            f"the program {name!r}, or what runs it, may not be run as {who}; let that user run both, and open all "
            "folders above them (the Python of a virtual environment may be a link into somebody's home)"
        )
    reason = error.strerror if isinstance(error, OSError) else error
    return f"the program {name!r} was not started: {reason}"
