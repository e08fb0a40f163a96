"""When keys were used: noted in memory, written down in batches, beside the requests and never in their way."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from mcp_keys_server.core.records import Use

MOST_KEYS_WAITING = 100_000


class UsageLog:
    """Collects the uses of keys until they are written.

    A use that cannot be written is kept for the next time; only when very many keys wait is anything dropped.
    """

    def __init__(self, record_use: Callable[[Mapping[str, Use]], Awaitable[None]]) -> None:
        self._record_use = record_use
        self._counts: dict[str, int] = {}
        self._last: dict[str, tuple[datetime, str | None]] = {}

    def note(self, prefix: str, now: datetime, client: str | None) -> None:
        count = self._counts.get(prefix)
        if count is None:
            if len(self._counts) >= MOST_KEYS_WAITING:
                return
            count = 0
        self._counts[prefix] = count + 1
        self._last[prefix] = (now, client)

    async def write(self) -> None:
        """Write down what was collected.

        Raises:
            StoreUnavailableError: It could not be written and is kept.
        """
        if not self._counts:
            return
        counts, last = self._counts, self._last
        self._counts, self._last = {}, {}
        try:
            await self._record_use({prefix: Use(count, *last[prefix]) for prefix, count in counts.items()})
        except BaseException:
            for prefix, count in counts.items():
                self._counts[prefix] = self._counts.get(prefix, 0) + count
                self._last.setdefault(prefix, last[prefix])
            raise
