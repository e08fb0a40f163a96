"""The whole application on a socket, in the process of the test, with upstreams behind it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import uvicorn
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_keys_server import ApiKey
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.gateway.gateway import Gateway
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.http_service import listen
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams
from tests.world import World

ERAS = ("auto", "legacy")
"""How the SDK's client is told to speak."""


@dataclass(frozen=True)
class Served:
    world: World
    gateway: Gateway
    base_url: str
    folder: Path
    """Where the programs keep what they write."""

    def endpoint(self, user: str = "ada", alias: str = "sample") -> str:
        return f"{self.base_url}/u/{user}/{alias}/mcp"

    def http(self, key: ApiKey) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(headers={"X-API-Key": key.reveal()}, timeout=60, trust_env=False)

    @asynccontextmanager
    async def client(
        self,
        key: ApiKey,
        *,
        mode: str = "auto",
        user: str = "ada",
        alias: str = "sample",
        **more: Any,  # noqa: ANN401 - the client's
    ) -> AsyncIterator[Client]:
        async with self.http(key) as http:
            transport = streamable_http_client(self.endpoint(user, alias), http_client=http)
            async with Client(transport, mode=mode, cache=None, **more) as client:
                yield client


@asynccontextmanager
async def served(
    world: World,
    folder: Path,
    upstreams: Mapping[str, Mapping[str, object]],
    **more: Any,  # noqa: ANN401 - settings
) -> AsyncIterator[Served]:
    settings = Settings(
        upstreams=cast("Mapping[str, AnyUpstream]", parse_upstreams(upstreams)),
        upstream_data_dir=folder,
        calls_per_minute=1_000_000,
        upstream_uids=None,  # whatever user runs the tests, whose Python others may not be able to run
        **more,
    )
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    policy = host_policy(settings, port=port)
    gateway = Gateway(world.ring, policy, settings, clock=world.clock)
    app = build_app(world.ring, policy, settings, gateway=gateway, clock=world.clock)
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.is_up.wait()
        yield Served(world, gateway, f"http://127.0.0.1:{port}", folder)
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
        listener.close()


class _Server(uvicorn.Server):
    """Without signal handlers, which are the test run's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
