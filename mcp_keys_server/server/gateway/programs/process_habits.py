"""How a program is started, spoken to and stopped, and what it does at the moment."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum

from mcp_keys_server.server.gateway.programs.child_process import Child


class State(StrEnum):
    """What a process is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Habits:
    """How a process is started and stopped."""

    spawned: Callable[[], AbstractAsyncContextManager[Child]]
    make_room: Callable[[], Awaitable[None]]
    """Called before it is started; raises UpstreamError where too many run already."""
    note_error: Callable[[str], None]
    start_seconds: float
    idle_seconds: float
    mode: str = "legacy"
    """In which era the SDK's client tries to speak."""
