"""What runs behind the aliases, for whom, and how it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mcp_keys_server.server.gateway.programs.program_server import ProgramServer
from mcp_keys_server.server.gateway.usage import UsageBook, Use


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """Of one user of one alias, since this process began."""

    alias: str
    user_id: str
    state: str | None
    """Of the user's process; None: it is not a program."""
    since: datetime | None
    pid: int | None
    calls: int
    open_calls: int
    errors: int
    mean_seconds: float
    longest_seconds: float
    last_used_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None


def status_of(servers: Mapping[str, object], usage: UsageBook) -> list[UpstreamStatus]:
    processes = {
        (alias, user_id): process
        for alias, server in servers.items()
        if isinstance(server, ProgramServer)
        for user_id, process in server.processes.items()
    }
    pairs = sorted(processes.keys() | {pair for pair in usage.uses if pair[0] in servers})
    found = []
    for alias, user_id in pairs:
        use, process = usage.uses.get((alias, user_id)) or Use(), processes.get((alias, user_id))
        found.append(
            UpstreamStatus(
                alias=alias,
                user_id=user_id,
                state=None if process is None else process.state,
                since=None if process is None else process.since,
                pid=None if process is None else process.pid,
                calls=use.calls,
                open_calls=use.open_calls,
                errors=use.errors,
                mean_seconds=use.seconds / use.calls if use.calls else 0.0,
                longest_seconds=use.longest_seconds,
                last_used_at=use.last_used_at,
                last_error=use.last_error,
                last_error_at=use.last_error_at,
            )
        )
    return found
