from collections.abc import AsyncIterator

import httpx2
import pytest

from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from tests.world import World


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in this process, for ``http://localhost:8000``."""
    app = build_app(world.ring, host_policy(Settings(), port=8000))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            yield client
