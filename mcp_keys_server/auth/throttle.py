"""How often somebody may do something."""

from limits import RateLimitItem

from mcp_keys_server.core.counters import Counters


class Throttle:
    """Counts by key what a key does, and failures by network address only, so that nobody can lock another out."""

    def __init__(self, what: str, allowed: RateLimitItem, counters: Counters) -> None:
        """What is counted is named, because the same counters count other things of the same people."""
        self._what = what
        self._most = allowed.amount
        self._seconds = allowed.get_expiry()
        self._counters = counters

    async def take(self, who: str) -> int:
        """Count one more, and say for how many seconds there may be no other; 0: this one was within the limit."""
        return await self._counters.take(f"{self._what} {who}", self._most, self._seconds)
