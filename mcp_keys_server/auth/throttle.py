"""How often somebody may do something."""

import math
import time
from ipaddress import ip_network

from limits import RateLimitItem
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter

FEWEST_TO_LOOK_THROUGH = 1_000


class _Counters(Storage):
    """Counters in memory. The library's own look through all of them at every count, which is as slow as they are many;
    here the ended ones are dropped when there are twice as many as were left the last time.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}
        self._look_through_at = FEWEST_TO_LOOK_THROUGH

    @property
    def base_exceptions(self) -> type[Exception]:
        return MemoryError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.time()
        count, ends_at = self._counts.get(key, (0, 0.0))
        if ends_at <= now:
            count, ends_at = 0, now + expiry
        self._counts[key] = (count + amount, ends_at)
        if len(self._counts) >= self._look_through_at:
            self._counts = {key: counted for key, counted in self._counts.items() if counted[1] > now}
            self._look_through_at = max(FEWEST_TO_LOOK_THROUGH, 2 * len(self._counts))
        return count + amount

    async def get(self, key: str) -> int:
        count, ends_at = self._counts.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    async def get_expiry(self, key: str) -> float:
        return self._counts.get(key, (0, time.time()))[1]

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        count = len(self._counts)
        self._counts.clear()
        return count

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)


class Throttle:
    """Counts by key what a key does, and failures by network address only, so that nobody can lock another out."""

    def __init__(self, allowed: RateLimitItem) -> None:
        self._allowed = allowed
        self._limiter = FixedWindowRateLimiter(_Counters())

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
