"""How often somebody may do something."""

import math
import time
from ipaddress import ip_network

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter


class Throttle:
    """Counts by key what a key does, and failures by network address only, so that nobody can lock another out."""

    def __init__(self, allowed: RateLimitItem) -> None:
        self._allowed = allowed
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def take(self, who: str) -> int:
        """Count one more, and say for how many seconds there may be no other; 0: this one was within the limit."""
        return 0 if await self._limiter.hit(self._allowed, who) else await self._seconds(who)

    async def seconds_to_wait(self, who: str) -> int:
        """The same without counting."""
        return 0 if await self._limiter.test(self._allowed, who) else await self._seconds(who)

    async def _seconds(self, who: str) -> int:
        window = await self._limiter.get_window_stats(self._allowed, who)
        return max(1, math.ceil(window.reset_time - time.time()))


def network_of(address: str) -> str:
    """Whom an address belongs to: of IPv6, everybody has at least 64 bits of them."""
    return str(ip_network((address, 64), strict=False)) if ":" in address else address
