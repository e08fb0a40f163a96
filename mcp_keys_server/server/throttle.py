"""How often somebody may fail."""

import math
import time
from ipaddress import ip_network
from typing import Final

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

SIGN_INS: Final = parse("10 per 5 minutes")


class FailureThrottle:
    """Counts failures by network address, never by key, so that nobody can lock another out."""

    def __init__(self, allowed: RateLimitItem = SIGN_INS) -> None:
        self._allowed = allowed
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def seconds_to_wait(self, address: str) -> int:
        """How long until this address may try again; 0: it may now."""
        whom = _network(address)
        if await self._limiter.test(self._allowed, whom):
            return 0
        window = await self._limiter.get_window_stats(self._allowed, whom)
        return max(1, math.ceil(window.reset_time - time.time()))

    async def note_failure(self, address: str) -> None:
        await self._limiter.hit(self._allowed, _network(address))


def _network(address: str) -> str:
    """Whom an address belongs to: of IPv6, everybody has at least 64 bits of them."""
    return str(ip_network((address, 64), strict=False)) if ":" in address else address
