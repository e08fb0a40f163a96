"""The secrets with which the checksums of keys are made.

A database begins with one. To be rid of it, because somebody got hold of it, a new one takes its place in two steps, so
that no process ever meets a key under a secret that it does not know: it is announced, and only when every process has
had the time to look is it the one that makes checksums. Those before it are still recognised, until the last key that
has a checksum of them is rotated and they are forgotten.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

import anyio

from mcp_keys_server.core.errors import StoreUnavailableError

SECONDS_BETWEEN_LOOKS: Final = 1
SECONDS_TO_BE_LATE: Final = 3
"""After which a process that could not look does not trust what it knows."""
SECONDS_TO_WAIT: Final = 1
"""For a look, which takes milliseconds."""
SECONDS_TO_BE_KNOWN: Final = 12
"""More than it takes to be late, and for a look that is on its way then to end."""

_ID_BYTES: Final = 8


def id_of(secret: bytes) -> bytes:
    """What is written beside a key to say with which secret its checksum was made: the digest with which it ends."""
    return secret[-_ID_BYTES:]


class ChecksumSecrets:
    """Those of one database, as this process knows them."""

    def __init__(
        self,
        found: Sequence[bytes],
        read: Callable[[], Awaitable[Sequence[bytes]]] | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """As they were found, and how they are read; without that, they stay as they are."""
        self._known = tuple(found)
        self._read = read
        self._clock = clock
        self._known_at = -math.inf  # because one may have been announced already
        self._failed_at = -math.inf
        self._look: asyncio.Future[None] | None = None
        self._is_closed = False

    @property
    def making(self) -> bytes:
        """The one with which checksums are made."""
        return self._known[0]

    def __iter__(self) -> Iterator[bytes]:
        """All that are recognised."""
        return iter(self._known)

    @property
    def may_be_late(self) -> bool:
        """Whether there may be keys under a secret that is not known here."""
        return self._read is not None and self._clock() - self._known_at > SECONDS_TO_BE_LATE

    async def catch_up(self) -> None:
        """Look until what is known here is not too old.

        Raises:
            StoreUnavailableError: Nobody can say at the moment.
        """
        for _ in range(2):  # because a look that is on its way may have begun long ago
            await self.look()
            if not self.may_be_late:
                return
        raise StoreUnavailableError("the database took too long to say which checksum secrets there are")

    async def look(self) -> None:
        """Learn which there are; one look at a time, for all who ask meanwhile, and none soon after one that failed.
        Nobody waits for it for long, or very many would while the database hangs.

        Raises:
            StoreUnavailableError: Nobody can say at the moment.
        """
        if self._is_closed:
            raise StoreUnavailableError("the database is being closed")
        if self._clock() - self._failed_at < SECONDS_BETWEEN_LOOKS:
            raise StoreUnavailableError("the database did not say which checksum secrets there are")
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._learn())
            self._look.add_done_callback(_take_note)
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT):
                await asyncio.shield(self._look)
        except TimeoutError:
            raise StoreUnavailableError("the database does not say which checksum secrets there are") from None

    async def keep_looking(self) -> None:
        """Look now and then until cancelled, whatever becomes of a single look."""
        while True:
            with suppress(StoreUnavailableError):  # requests meet the same trouble and report it
                await self.look()
            await anyio.sleep(SECONDS_BETWEEN_LOOKS)

    async def close(self) -> None:
        """Look no more, and wait for whoever does: they need the database."""
        self._is_closed = True
        if self._look is not None:
            await asyncio.wait([self._look])

    async def _learn(self) -> None:
        began = self._clock()
        try:
            if self._read is not None:
                self._known = tuple(await self._read())
        except StoreUnavailableError:
            self._failed_at = self._clock()
            raise
        self._known_at = began


def _take_note(look: asyncio.Future[None]) -> None:
    """Of how it ended, or else asyncio logs it where whoever asked has gone away."""
    with suppress(asyncio.CancelledError):
        look.exception()
