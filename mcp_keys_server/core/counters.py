"""How often each name was counted: at once in the memory of a process, soon afterwards by all processes together."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import StoreUnavailableError

SECONDS_BETWEEN_SHARES: Final = 1.0
SHARES_OF_A_WINDOW: Final = 50
"""What a process has counted is shared whenever it is this part of what is allowed: so rare names are never written,
and busy ones no more often than this in a window."""
MOST_NAMES: Final = 50_000
"""In a generation, of which two are remembered, and of those that wait to be shared."""


class Counters(Protocol):
    """Counts names in windows of time."""

    async def take(self, name: str, most: int, seconds: int) -> int:
        """Count this name once more, or say in how many seconds its window ends, which has so many already. 0: it was
        counted. A name always has the same window of whole seconds.
        """


@dataclass(frozen=True, slots=True)
class Count:
    """What one process has counted under a name in the window that ends then, in seconds of Unix time."""

    ends_at: int
    count: int


class CounterStore(Protocol):
    """Adds up the counts of several processes."""

    async def share_counts(self, process: str, counts: Mapping[str, Count], *, now: int) -> Mapping[str, int]:
        """Put these in the place of what this process has shared under the same names, forget windows that have ended
        by now, and give for each name the sum of all processes in the same window.

        Doing it twice is the same as doing it once.

        Raises:
            StoreUnavailableError: It may have been done or not.
        """


class _Window:
    """One name's count until its window ends."""

    __slots__ = ("ends_at", "others", "own", "shared")

    def __init__(self, ends_at: int) -> None:
        self.ends_at = ends_at
        self.own = 0
        self.shared = 0
        """Of these, what the others know."""
        self.others = 0
        """What they had counted when it was shared last."""


class SharedCounters:
    """Decides by what this process has counted and by what it knows of the others, without waiting for anything.

    All processes together let through what is allowed, and no more beyond it than each of them counts until it shares:
    a fiftieth of it, or what comes within a second. Windows are aligned to the clock, or else no two processes would
    mean the same one. When the store does not answer, each goes on by itself.

    Bounded by two generations, as the memory of proven facts is: a name that is counted stays, one that is not asked
    for while very many others are is forgotten.
    """

    def __init__(self, store: CounterStore, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock
        # So that what a process shares takes the place of its own, and a share whose answer was lost can be repeated.
        self._process = secrets.token_hex(8)
        self._young: dict[str, _Window] = {}
        self._old: dict[str, _Window] = {}
        self._due: dict[str, _Window] = {}

    async def take(self, name: str, most: int, seconds: int) -> int:
        now = self._clock().timestamp()
        ends_at = (int(now) // seconds + 1) * seconds
        window = self._young.get(name)
        if window is None or window.ends_at != ends_at:
            window = self._begun(name, ends_at)
        if window.own + window.others >= most:
            return math.ceil(ends_at - now)
        window.own += 1
        if (window.own - window.shared) * SHARES_OF_A_WINDOW >= most and len(self._due) < MOST_NAMES:
            self._due[name] = window
        return 0

    async def share(self) -> None:
        """Tell the others what was counted here, as far as it matters, and learn what they have counted.

        Raises:
            StoreUnavailableError: It is told the next time.
        """
        now = self._clock().timestamp()
        due = {name: window for name, window in self._due.items() if window.ends_at > now}
        self._due = {}
        if not due:
            return
        counts = {name: Count(window.ends_at, window.own) for name, window in due.items()}
        try:
            sums = await self._store.share_counts(self._process, counts, now=int(now))
        except StoreUnavailableError:
            self._due = due | self._due
            raise
        for name, window in due.items():
            window.shared = counts[name].count
            window.others = sums[name] - window.shared

    async def keep_sharing(self) -> None:
        """Share now and then until cancelled, whatever becomes of a single time."""
        while True:
            await anyio.sleep(SECONDS_BETWEEN_SHARES)
            try:
                await self.share()
            except StoreUnavailableError:
                continue  # requests meet the same trouble and report it; here each process counts by itself

    def _begun(self, name: str, ends_at: int) -> _Window:
        window = self._old.get(name)
        if window is None or window.ends_at != ends_at:
            window = _Window(ends_at)
        if len(self._young) >= MOST_NAMES:
            self._young, self._old = {}, self._young
        self._young[name] = window
        return window
