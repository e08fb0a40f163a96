"""How the upstreams are used: what each user's calls came to, since this process began."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from mcp_keys_server.core.clock import Clock, utc_now

MOST_PAIRS: Final = 10_000
"""Users of an alias of whom something is kept; then who has not called for the longest is forgotten."""


@dataclass(slots=True)
class Use:
    """What one user's calls of one alias came to."""

    calls: int = 0
    open_calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    """Of all calls together."""
    longest_seconds: float = 0.0
    last_used_at: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None


class Call:
    """One call that is being made."""

    def __init__(self) -> None:
        self.error: str | None = None

    def failed(self, error: str) -> None:
        """Note that it did not come to what was asked for, and why, in words."""
        self.error = error


class UsageBook:
    """By alias and user id."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._uses: dict[tuple[str, str], Use] = {}

    @property
    def uses(self) -> Mapping[tuple[str, str], Use]:
        return self._uses

    def open_calls(self, alias: str, user_id: str) -> int:
        use = self._uses.get((alias, user_id))
        return 0 if use is None else use.open_calls

    @contextmanager
    def calling(self, alias: str, user_id: str) -> Iterator[Call]:
        """Around each call. One that ends by an exception counts as an error, unless it was cancelled."""
        use = self._use(alias, user_id)
        call = Call()
        began = monotonic()
        use.calls += 1
        use.open_calls += 1
        use.last_used_at = self._clock()
        try:
            yield call
        except Exception as error:
            call.error = call.error or str(error)
            raise
        finally:
            taken = monotonic() - began
            use.open_calls -= 1
            use.seconds += taken
            use.longest_seconds = max(use.longest_seconds, taken)
            if call.error is not None:
                use.errors += 1
                self.note_error(alias, user_id, call.error)

    def note_error(self, alias: str, user_id: str, error: str) -> None:
        """Of a call, or of the upstream between calls."""
        use = self._use(alias, user_id)
        use.last_error, use.last_error_at = error, self._clock()

    def _use(self, alias: str, user_id: str) -> Use:
        # At the end of the dictionary is whoever called last.
        use = self._uses.pop((alias, user_id), None) or Use()
        self._uses[alias, user_id] = use
        if len(self._uses) > MOST_PAIRS:
            others = (pair for pair, other in self._uses.items() if other is not use and not other.open_calls)
            idle = next(others, None)
            if idle is not None:
                del self._uses[idle]
        return use
