"""Where a serving process says what runs behind its aliases: a socket in a folder that is its user's alone."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import SocketStream
from pydantic import TypeAdapter, ValidationError

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.gateway.upstream_status import UpstreamStatus

logger = logging.getLogger(__name__)

FOLDER: Final = ".run"
"""Below the folder of the programs; no alias begins with a dot."""
SECONDS_TO_ANSWER: Final = 2.0
_SUFFIX: Final = ".sock"
_STATUSES: Final = TypeAdapter(list[UpstreamStatus])


class StatusUnreadableError(McpKeysError):
    """Nobody can say what runs. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The processes that serve on this machine."""

    pids: Sequence[int]
    """Of those that answered."""
    silent_pids: Sequence[int]
    statuses: Sequence[UpstreamStatus]


@asynccontextmanager
async def status_socket(folder: Path, status: Callable[[], Sequence[UpstreamStatus]]) -> AsyncIterator[None]:
    """Within it, whoever connects to this process's socket below the folder is told the status. Without the socket,
    all else goes on.
    """
    path = folder / FOLDER / f"{os.getpid()}{_SUFFIX}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        listener = await anyio.create_unix_listener(path, mode=0o600)
    except OSError as error:
        reason = error.strerror or error  # of a path that is too long, there is only a text
        logger.warning("'upstreams list' will not show this process: %s cannot be made: %s", path, reason)
        yield
        return

    async def answer(stream: SocketStream) -> None:
        async with stream:
            # Whoever asks and does not listen is not waited for, and one who leaves is no event.
            with anyio.move_on_after(SECONDS_TO_ANSWER), suppress(anyio.BrokenResourceError):
                await stream.send(_STATUSES.dump_json(list(status())))

    async with anyio.create_task_group() as tasks, listener:
        tasks.start_soon(listener.serve, answer)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            path.unlink(missing_ok=True)


async def read_status(folder: Path) -> Serving:
    """What all processes with this folder say. A socket whose process is gone is removed.

    Raises:
        StatusUnreadableError: The folder is another user's.
    """
    pids, silent_pids, statuses = [], [], []
    for socket in _sockets(folder / FOLDER):
        pid = int(socket.stem)
        try:
            with anyio.fail_after(SECONDS_TO_ANSWER):
                statuses += _STATUSES.validate_json(await _said(socket))
        except (ConnectionRefusedError, FileNotFoundError):
            socket.unlink(missing_ok=True)
        except (TimeoutError, ValidationError, anyio.BrokenResourceError):
            silent_pids.append(pid)
        else:
            pids.append(pid)
    return Serving(pids, silent_pids, sorted(statuses, key=lambda status: (status.alias, status.user_id)))


def _sockets(folder: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX and path.stem.isdecimal())
    except PermissionError as error:
        raise StatusUnreadableError(f"{folder} may not be read; run this as the user whose server it is") from error
    except OSError:  # there has never been one
        return []


async def _said(socket: Path) -> bytes:
    said = bytearray()
    async with await anyio.connect_unix(socket) as stream:
        async for part in stream:
            said += part
    return bytes(said)
