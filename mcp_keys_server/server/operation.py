"""What an operator can do with a server that runs: ask what stands behind its aliases, and change it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp_keys_server.server.gateway.control import status_socket
from mcp_keys_server.server.gateway.gateway import Gateway
from mcp_keys_server.server.reloading import reloading
from mcp_keys_server.settings import Settings


@asynccontextmanager
async def operated(gateway: Gateway, settings: Settings, read: Callable[[], Settings] | None) -> AsyncIterator[None]:
    """Around the serving. ``read`` gives the settings as they are at that moment; None: no file says what they are."""
    with reloading(gateway, settings, read):
        if read is None and not settings.upstreams:  # nor will there ever be any
            yield
            return
        async with status_socket(settings.upstream_data_dir, lambda: gateway.status):
            yield
