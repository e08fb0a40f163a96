"""How many lines of the log somebody may cause, where nothing else bounds what they are refused for."""

import logging
from collections import Counter
from time import monotonic
from typing import Final

from mcp_keys_server.core.records import Principal

logger = logging.getLogger(__name__)

MOST_LINES: Final = 60
"""Of one network or user in a window."""
SECONDS: Final = 60
"""Of a window, which begins with its first line."""
MOST_KNOWN: Final = 1_000
"""Networks or users, each of which is counted by itself."""
OTHERS: Final = "of others, too many to be told apart"
"""The one name of those that come when so many are known."""


class LineBudget:
    """Counts lines by whose they are. Whoever sends very many requests would fill the disk, and to write a line takes
    longer than to refuse one.
    """

    def __init__(self, most: int = MOST_LINES, *, of: str = "very many") -> None:
        self._most = most
        self._of = of
        self._lines = Counter[str]()
        self._ends_at = 0.0

    def take(self, who: str) -> bool:
        """Whether there may be one more line of theirs, named as the log names them, such as ``client=192.0.2.1``. Of
        those that there may not be, the first is one that says so.
        """
        now = monotonic()
        if now >= self._ends_at:
            self._lines.clear()
            self._ends_at = now + SECONDS
        if who not in self._lines and len(self._lines) >= MOST_KNOWN:
            who = OTHERS  # because whoever has very many addresses would begin a new count with them
        self._lines[who] += 1
        if self._lines[who] == self._most + 1:
            left = self._ends_at - now
            logger.warning("refused: %s %s; those of the next %d seconds are not logged", self._of, who, left)
        return self._lines[who] <= self._most


class RefusalLog:
    """The lines about good keys that are refused something, so many of each user."""

    def __init__(self, to: logging.Logger) -> None:
        self._to = to
        self._lines = LineBudget()

    def take(self, principal: Principal) -> bool:
        """Whether there may be one more line, which is written elsewhere."""
        return self._lines.take(f"user_id={principal.user_id}")

    def refused(self, what: str, principal: Principal, more: str = "") -> None:
        """More is further fields of the line."""
        if self.take(principal):
            named = f"key_id={principal.key_id} user_id={principal.user_id}"
            self._to.info("refused: %s", " ".join(filter(None, (what, named, more))))
