from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import ASGIApp

from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from tests.world import World

BASE_URL = "http://localhost:8000"


@pytest.fixture
async def app(world: World) -> AsyncIterator[ASGIApp]:
    """The application, started, as it listens on port 8000."""
    built = build_app(world.ring, host_policy(Settings(), port=8000), Settings(), clock=world.clock)
    async with built.router.lifespan_context(built):
        yield built


@pytest.fixture
async def http(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in the same process."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client
