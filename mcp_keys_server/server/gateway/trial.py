"""An upstream tried out: started or reached as the service would, and asked what it has."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import anyio
import httpx2
from anyio import to_thread
from mcp import Client, MCPError
from mcp_types import CONNECTION_CLOSED, Request
from pydantic import AliasChoices, BaseModel, Field

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.gateway.programs.announcements import Announcements
from mcp_keys_server.server.gateway.programs.child_process import Child, spawned
from mcp_keys_server.server.gateway.programs.open_calls import OpenCalls
from mcp_keys_server.server.gateway.programs.process_habits import Habits
from mcp_keys_server.server.gateway.programs.program_spawn import era, program_spawn
from mcp_keys_server.server.gateway.programs.user_process import UserProcess
from mcp_keys_server.server.gateway.remotes.public_network import PublicNetwork
from mcp_keys_server.server.gateway.remotes.remote_connection import RemoteConnection
from mcp_keys_server.server.gateway.tool_listing import MOST_PAGES, SECONDS_TO_LIST, first_error, listed_tools
from mcp_keys_server.server.gateway.tool_rules import digest_of, has_a_name
from mcp_keys_server.server.key_tools import KEY_TOOLS
from mcp_keys_server.upstreams import AnyUpstream, ProgramUpstream, RemoteUpstream

TRIAL_USER: Final = "check"
"""For whom it is tried if nobody is named."""
SECONDS_TO_END: Final = 2.0
"""In which a program that has hung up is waited for, to hear what it ended of."""
_UNSENDABLE: Final = (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError)
_FAILURES: Final = (McpKeysError, MCPError, httpx2.HTTPError, *_UNSENDABLE, OSError, ValueError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. Names and versions are as the upstream gave them: text of a stranger's."""

    alias: str
    error: str | None = None
    """Why it cannot be used, as a sentence; then the others say nothing."""
    server: str | None = None
    protocol: str | None = None
    tools: int | None = None
    """Those that are let through; of this and the next two, None: it has nothing of the kind."""
    resources: int | None = None
    prompts: int | None = None
    idle_patterns: Sequence[str] = ()
    """Of ``allow``, those that no tool fits."""
    reserved_tools: Sequence[str] = ()
    """Left out, because ours have these names."""
    changed_tools: Sequence[str] = ()
    """Not what they were when they were first seen."""


class _Page(BaseModel):
    listed: list[object] = Field(validation_alias=AliasChoices("resources", "prompts"))
    cursor: str | None = Field(default=None, alias="nextCursor")


@dataclass(frozen=True, slots=True)
class Bench:
    """What trials are made on."""

    folder: Path
    """Where programs keep what they write."""
    uids: range | None
    pinned: Callable[[str], Awaitable[Mapping[str, str]]]
    """What the tools of an alias looked like when they were first seen."""


async def tried(alias: str, upstream: AnyUpstream, user_id: str, bench: Bench) -> Trial:
    """
    Raises:
        InvalidFieldError: There can be no such user.
        StoreUnavailableError: Nobody can say what the tools looked like.
    """
    pinned = await bench.pinned(alias)
    errors: list[str] = []
    trial: Trial | None = None
    try:
        async with _connected(alias, upstream, user_id, bench, errors.append) as client:
            with anyio.fail_after(SECONDS_TO_LIST):
                trial = await _asked(alias, upstream, client, pinned)
    except* _FAILURES as group:
        # What the program ended of says more than what its end looked like from here.
        trial = Trial(alias, error=errors[0] if errors else _sentence(first_error(group)))
    assert trial is not None  # noqa: S101 - it was asked, or there is an error
    return trial


def _connected(
    alias: str, upstream: AnyUpstream, user_id: str, bench: Bench, note_error: Callable[[str], None]
) -> AbstractAsyncContextManager[Client]:
    if isinstance(upstream, ProgramUpstream):
        return _started(alias, upstream, user_id, bench, note_error)
    return _reached(alias, upstream, user_id)


@asynccontextmanager
async def _started(
    alias: str, upstream: ProgramUpstream, user_id: str, bench: Bench, note_error: Callable[[str], None]
) -> AsyncIterator[Client]:
    folder = bench.folder / alias / user_id
    # A real user's folder may come to be in use meanwhile, by a server that runs.
    is_ours = user_id == TRIAL_USER and not folder.exists()

    @asynccontextmanager
    async def child() -> AsyncIterator[Child]:
        spawn = await to_thread.run_sync(program_spawn, alias, upstream, user_id, bench.folder, bench.uids)
        async with spawned(replace(spawn, shares_uid=not is_ours)) as child:
            yield child

    async def make_room() -> None:
        """There is no other."""

    has_ended = anyio.Event()

    def note_end(error: str) -> None:
        note_error(error)
        has_ended.set()

    habits = Habits(child, make_room, note_end, upstream.start_seconds, upstream.idle_seconds, era(upstream))
    calls = OpenCalls(alias, seconds=upstream.call_seconds, holds_key=lambda _: False)
    process = UserProcess(f"{alias} of {user_id}", calls, Announcements(), habits)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.keep)
            try:
                async with process.in_use() as client:
                    yield client
            except MCPError as error:
                if error.error.code == CONNECTION_CLOSED:
                    with anyio.move_on_after(SECONDS_TO_END):
                        await has_ended.wait()
                raise
            finally:
                tasks.cancel_scope.cancel()
    finally:
        if is_ours:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


@asynccontextmanager
async def _reached(alias: str, upstream: RemoteUpstream, user_id: str) -> AsyncIterator[Client]:
    connection = RemoteConnection(upstream, PublicNetwork(allow_private=upstream.allow_private))
    fields = {"user_id": user_id, "alias": alias, "key_id": TRIAL_USER}
    try:
        async with connection.client(fields, seconds=min(upstream.call_seconds, SECONDS_TO_LIST)) as client:
            yield client
    finally:
        await connection.aclose()


async def _asked(alias: str, upstream: AnyUpstream, client: Client, pinned: Mapping[str, str]) -> Trial:
    info, has = client.server_info, client.server_capabilities
    listed = [] if has.tools is None else [tool for page in await listed_tools(client) for tool in page]
    tools = {str(tool["name"]): digest_of(tool) for tool in listed if has_a_name(tool)}
    shown = {
        name
        for name in tools.keys() - KEY_TOOLS
        if upstream.allow is None or any(fnmatchcase(name, pattern) for pattern in upstream.allow)
    }
    idle = [pattern for pattern in upstream.allow or () if not any(fnmatchcase(name, pattern) for name in tools)]
    return Trial(
        alias,
        server=f"{info.name} {info.version}".strip() if info else None,
        protocol=client.protocol_version,
        tools=None if has.tools is None else len(shown),
        resources=None if has.resources is None else await _count(client, "resources"),
        prompts=None if has.prompts is None else await _count(client, "prompts"),
        idle_patterns=idle,
        reserved_tools=sorted(tools.keys() & KEY_TOOLS),
        changed_tools=sorted(name for name in shown if pinned.get(name, tools[name]) != tools[name]),
    )


async def _count(client: Client, kind: str) -> int:
    count = 0
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        request = Request[dict[str, str], str](
            method=f"{kind}/list", params={} if cursor is None else {"cursor": cursor}
        )
        page = await client.session.send_request(request, _Page)
        count += len(page.listed)
        cursor = page.cursor
        if cursor is None:
            break
    return count


def _sentence(error: BaseException) -> str:
    if isinstance(error, _UNSENDABLE):
        return "its address or a header for it, as configured, cannot be sent"
    if isinstance(error, httpx2.HTTPStatusError):  # whose text has the address, in which there may be a secret
        return f"it answered with HTTP {error.response.status_code}"
    if isinstance(error, TimeoutError):
        return "it gave no answer in time"
    if isinstance(error, ValueError | RuntimeError):
        return "it answered with what is no answer"
    return str(error) or type(error).__name__
