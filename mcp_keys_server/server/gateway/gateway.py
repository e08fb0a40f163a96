"""All upstreams of this process: what stands behind which alias, as the configuration has it at the moment."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.endpoints import Endpoint
from mcp_keys_server.server.gateway.programs.child_family import ProcessTable
from mcp_keys_server.server.gateway.programs.program_relay import Surroundings
from mcp_keys_server.server.gateway.programs.program_server import Ground, ProgramServer
from mcp_keys_server.server.gateway.remotes.remote_server import RemoteServer
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.gateway.tool_rules import ToolRules
from mcp_keys_server.server.gateway.upstream_status import UpstreamStatus, status_of
from mcp_keys_server.server.gateway.usage import UsageBook
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.key_tools import KEY_TOOLS
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import AnyUpstream, ProgramUpstream

logger = logging.getLogger(__name__)

_METHODS: Final = frozenset({"POST", "GET", "DELETE"})

Upstreams = Mapping[str, AnyUpstream]


@dataclass(slots=True)
class _Place:
    """What stands behind one alias."""

    upstream: AnyUpstream
    server: ProgramServer | RemoteServer
    endpoint: Endpoint
    before: anyio.Event
    """Set when nothing of what stood here before runs any more."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    """The same of this one."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Gateway:
    """Has to ``run`` for its endpoints to answer."""

    def __init__(self, ring: KeyRing, policy: HostPolicy, settings: Settings, *, clock: Clock = utc_now) -> None:
        self._ring = ring
        self._clock = clock
        self._seal = Seal(ring.checksum_secrets)
        self._usage = UsageBook(clock=clock)
        self._security = TransportSecurityMiddleware(policy.for_sdk())
        self._ground = Ground(
            folder=settings.upstream_data_dir,
            uids=settings.upstream_uids,
            processes=ProcessTable(),
            security=policy.for_sdk(),
            holds_key=ring.verifier.finds_key_in,
        )
        self._places: dict[str, _Place] = {}
        self._leaving: dict[str, anyio.Event] = {}
        """Of aliases that had something else behind them."""
        self._wanted: asyncio.Queue[Upstreams] = asyncio.Queue()
        self._wanted.put_nowait(settings.upstreams)
        self.endpoints: dict[str, Endpoint] = {}
        """By alias; changed in place."""

    def reconfigure(self, upstreams: Upstreams) -> None:
        """From soon on these and no others; what is as it was goes on undisturbed."""
        self._wanted.put_nowait(upstreams)

    @property
    def status(self) -> list[UpstreamStatus]:
        """Of every user of every alias who has used it since this process began."""
        programs = {alias: place.server for alias, place in self._places.items()}
        return status_of(programs, self._usage)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Around all that is answered. What the configuration has at first is there when it begins."""
        async with anyio.create_task_group() as tasks:
            await self._arrange(tasks, self._wanted.get_nowait())
            tasks.start_soon(self._obey, tasks)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _obey(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            await self._arrange(tasks, await self._wanted.get())

    async def _arrange(self, tasks: anyio.abc.TaskGroup, upstreams: Upstreams) -> None:
        for alias, place in list(self._places.items()):
            if upstreams.get(alias) != place.upstream:
                del self.endpoints[alias], self._places[alias]
                place.scope.cancel()
                self._leaving[alias] = place.gone
        for alias, upstream in upstreams.items():
            if alias not in self._places:
                place = self._place(alias, upstream)
                self._places[alias], self.endpoints[alias] = place, place.endpoint
                tasks.start_soon(self._keep, place)

    async def _keep(self, place: _Place) -> None:
        with place.scope:
            if isinstance(place.server, ProgramServer):
                await place.server.run()
            else:
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await place.server.aclose()
        await place.before.wait()
        place.gone.set()

    def _place(self, alias: str, upstream: AnyUpstream) -> _Place:
        rules = ToolRules(alias, upstream, KEY_TOOLS, self._ring.tool_pins, clock=self._clock)
        before = self._leaving.get(alias)
        if before is None:
            before = anyio.Event()
            before.set()
        server: ProgramServer | RemoteServer
        if isinstance(upstream, ProgramUpstream):
            around = Surroundings(alias, rules, self._seal, self._usage, self._ring.open_responses)
            server = ProgramServer(upstream, around, self._ground, before)
            app: ASGIApp = server
        else:
            server = RemoteServer(alias, upstream, rules, self._seal, self._usage, self._ground.holds_key)
            app = self._secured(server)
        return _Place(upstream, server, Endpoint(app, _METHODS, upstream.required_scopes), before)

    def _secured(self, app: ASGIApp) -> ASGIApp:
        """Of programs the SDK's server asks the same; what is somewhere else sees another Host header than ours."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope)
            refusal = await self._security.validate_request(request, is_post=request.method == "POST")
            await (refusal or app)(scope, receive, send)

        return answer
