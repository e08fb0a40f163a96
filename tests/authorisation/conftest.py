"""The whole application in this process, with something behind every kind of alias, and what everybody sends to it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from starlette.applications import Starlette

from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams
from tests.authorisation.callers import Caller
from tests.authorisation.table import SCOPE_OF_TICKETS
from tests.cli.upstream_files import small
from tests.server.calls import MODERN
from tests.server.conftest import client_of
from tests.server.gateway.remotes.remote_upstreams import Upstream, an_upstream, pong
from tests.world import World


@dataclass(frozen=True)
class Site:
    world: World
    app: Starlette
    http: httpx2.AsyncClient
    upstream: Upstream
    """What is behind the aliases that are somewhere else."""

    async def send(
        self,
        caller: Caller,
        method: str,
        path: str,
        message: object = None,
        *,
        modern: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        sent = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")]
        sent += [*caller.headers, *(headers or {}).items()]
        if modern:
            sent += [("mcp-protocol-version", MODERN)]
        return await self.http.request(method, path, headers=sent, content=json.dumps(message))


@asynccontextmanager
async def a_site(world: World, folder: Path) -> AsyncIterator[Site]:
    async with an_upstream(pong) as upstream:
        there: dict[str, object] = {"url": upstream.url, "allow_private": True, "headers": {"X-User": "{user_id}"}}
        upstreams = parse_upstreams(
            {"elsewhere": there, "tickets": there | {"required_scopes": [SCOPE_OF_TICKETS]}, "program": small()}
        )
        settings = Settings(
            upstreams=cast("Mapping[str, AnyUpstream]", upstreams),
            upstream_data_dir=folder / "upstreams",
            upstream_uids=None,
            calls_per_minute=1_000_000,
            failures_per_minute=1_000_000,
        )
        app = build_app(world.ring, host_policy(settings, port=8000), settings, clock=world.clock)
        async with app.router.lifespan_context(app), client_of(app) as http:
            yield Site(world, app, http, upstream)


@pytest.fixture
async def site(sqlite_world: World, tmp_path: Path) -> AsyncIterator[Site]:
    """On SQLite, since who may do what is decided before any store, but for whose keys are found."""
    async with a_site(sqlite_world, tmp_path) as built:
        yield built


@pytest.fixture
async def site_on_any_store(world: World, tmp_path: Path) -> AsyncIterator[Site]:
    async with a_site(world, tmp_path) as built:
        yield built


def request(method: str, *, modern: bool = False, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has it
    """A JSON-RPC request of either era."""
    if modern:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params["_meta"] = meta | params.get("_meta", {})
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
