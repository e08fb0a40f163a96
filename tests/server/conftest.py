from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.types import ASGIApp

from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from tests.world import World

BASE_URL = "http://localhost:8000"


@asynccontextmanager
async def started(world: World, settings: Settings) -> AsyncIterator[ASGIApp]:
    built = build_app(world.ring, host_policy(settings, port=8000), settings, clock=world.clock)
    async with built.router.lifespan_context(built):
        yield built


def client_of(app: ASGIApp, *, client: str = "127.0.0.1") -> httpx2.AsyncClient:
    """A client in the same process, which seems to have this address."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False, client=(client, 123))
    return httpx2.AsyncClient(transport=transport, base_url=BASE_URL)


@pytest.fixture
async def app(world: World) -> AsyncIterator[ASGIApp]:
    """The application, started, as it listens on port 8000."""
    async with started(world, Settings()) as built:
        yield built


@pytest.fixture
async def http(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def inline_http(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that puts new keys into results."""
    async with started(world, Settings(secret_delivery="inline")) as built, client_of(built) as client:
        yield client
