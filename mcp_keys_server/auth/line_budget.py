"""How many lines of the log one network may cause, where nothing else bounds what it is refused for."""

import logging
from collections import Counter
from time import monotonic
from typing import Final

logger = logging.getLogger(__name__)

MOST_LINES: Final = 60
"""Of one network in a window."""
SECONDS: Final = 60
"""Of a window, which begins with its first line."""
MOST_NETWORKS: Final = 1_000


class LineBudget:
    """Counts lines by network. Whoever sends very many requests would fill the disk, and to write a line takes longer
    than to refuse one.
    """

    def __init__(self) -> None:
        self._lines = Counter[str]()
        self._ends_at = 0.0

    def take(self, network: str) -> bool:
        """Whether there may be one more line. Of those that there may not be, the first is one that says so."""
        now = monotonic()
        if now >= self._ends_at or len(self._lines) >= MOST_NETWORKS:
            self._lines.clear()
            self._ends_at = now + SECONDS
        self._lines[network] += 1
        if self._lines[network] == MOST_LINES + 1:
            left = self._ends_at - now
            logger.warning("refused: very many client=%s; those of the next %d seconds are not logged", network, left)
        return self._lines[network] <= MOST_LINES
