"""What is noted in memory and written down in batches, beside the requests and never in their way."""

from collections.abc import Awaitable, Callable

import anyio

from mcp_keys_server.core.errors import StoreUnavailableError

SECONDS_BETWEEN_WRITES = 2.0


async def keep_writing(write: Callable[[], Awaitable[None]]) -> None:
    """Write now and then until cancelled, whatever becomes of a single write."""
    while True:
        await anyio.sleep(SECONDS_BETWEEN_WRITES)
        try:
            await write()
        except StoreUnavailableError:
            continue  # requests meet the same trouble and report it; here what was noted simply waits
