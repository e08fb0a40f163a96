"""How many files a process may have open, of which each connection is one, and what happens when there are no more."""

import logging
import resource
import socket
from time import monotonic
from typing import Any, Final

logger = logging.getLogger(__name__)

MOST_FILES: Final = 65_536
"""More are not asked for where the system sets no bound, because programs that are started from here inherit it, and
some go through all that there could be."""
SPARE_FILES: Final = 64
"""Those of the database, of programs and of upstreams are opened whatever number of clients there is."""
SECONDS_BETWEEN_LINES: Final = 60.0


def raise_file_limit() -> None:
    """Let this process have as many as the system lets it, and not the 1,024 that suit programs that use ``select``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _bounded(hard)
    if _bounded(soft) < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _bounded(limit: int) -> int:
    return MOST_FILES if limit == resource.RLIM_INFINITY else min(limit, MOST_FILES)


class FrugalListener(socket.socket):
    """One that takes the last files for no connection: it closes those at once, so that nobody waits in vain.

    Were there none left, asyncio would try again every second as often as connections may wait, with a traceback for
    each, and nothing else that needs a file would go on either.
    """

    _quiet_until = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The system gives the lowest number that is free.
        if soft == resource.RLIM_INFINITY or connection.fileno() < soft - min(SPARE_FILES, soft // 2):
            return connection, address
        connection.close()
        self._say_so(soft)
        raise BlockingIOError  # for asyncio to turn to what else there is

    def _say_so(self, limit: int) -> None:
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + SECONDS_BETWEEN_LINES
            logger.warning("connections are closed at once: nearly all of %d files are open (ulimit -n)", limit)
