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
from datetime import datetime
from time import monotonic
from typing import Final, Protocol

import anyio

from mcp_keys_server.core.errors import StoreUnavailableError

SECONDS_BETWEEN_LOOKS: Final = 1
SECONDS_TO_BE_LATE: Final = 3
"""After which a process that could not look does not trust what it knows."""
SECONDS_TO_BE_KNOWN: Final = 12
"""More than it takes to be late, and for a look that is on its way then to end."""
MOST_SECRETS: Final = 4

_ID_BYTES: Final = 8


def id_of(secret: bytes) -> bytes:
    """What is written beside a key to say with which secret its checksum was made: the digest with which it ends."""
    return secret[-_ID_BYTES:]


class ChecksumSecretStore(Protocol):
    """Keeps the secrets of one database. Every method may raise StoreUnavailableError, and then has changed nothing."""

    @property
    def found(self) -> Sequence[bytes]:
        """As they were when it was opened; the first makes checksums."""

    async def read(self) -> Sequence[bytes]:
        """As they are now."""

    async def announce(self) -> None:
        """See to it that there is one that is recognised and makes no checksums yet, the same for all who ask.

        Raises:
            TooManySecretsError: There are so many already.
        """

    async def use_announced(self) -> None:
        """Make checksums with it from now on, unless that was done already."""

    async def forget(self, now: datetime) -> Sequence[str]:
        """Those that no key needs, except the one that makes checksums. A key needs one as long as it has neither been
        revoked nor expired, and a secret of its own that has not ended has a checksum of it.

        Returns:
            The key ids of those that need one of the others.
        """


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
        self._look: asyncio.Future[None] | None = None

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

    async def look(self) -> None:
        """Learn which there are; one look at a time, for all who ask meanwhile.

        Raises:
            StoreUnavailableError: Nobody can say at the moment.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._learn())
            self._look.add_done_callback(_take_note)
        await asyncio.shield(self._look)

    async def keep_looking(self) -> None:
        """Look now and then until cancelled, whatever becomes of a single look."""
        while True:
            await anyio.sleep(SECONDS_BETWEEN_LOOKS)
            with suppress(StoreUnavailableError):  # requests meet the same trouble and report it
                await self.look()

    async def _learn(self) -> None:
        began = self._clock()
        if self._read is not None:
            self._known = tuple(await self._read())
        self._known_at = began


def _take_note(look: asyncio.Future[None]) -> None:
    """Of how it ended, or else asyncio logs it where whoever asked has gone away."""
    with suppress(asyncio.CancelledError):
        look.exception()
