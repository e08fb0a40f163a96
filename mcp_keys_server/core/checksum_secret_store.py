"""The port through which the checksum secrets of a database are read, replaced and forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from mcp_keys_server.core.ledger import Event

MOST_SECRETS: Final = 4
MOST_NEEDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class NeedOfSecret:
    """A key that has a checksum of a secret that was replaced."""

    key_id: str
    until: datetime | None
    """When that ends, because it was rotated since; None: when it is rotated or revoked."""


class ChecksumSecretStore(Protocol):
    """Keeps the secrets of one database. Every method may raise StoreUnavailableError, and then has changed nothing."""

    @property
    def found(self) -> Sequence[bytes]:
        """As they were when it was opened; the first makes checksums."""

    async def read(self) -> Sequence[bytes]:
        """As they are now."""

    async def announce(self) -> bytes:
        """Have a new one be recognised that makes no checksums yet, in the place of any that was announced before,
        which others may have seen since, and give its id.

        Raises:
            TooManySecretsError: There are so many already.
        """

    async def use_announced(self, secret_id: bytes, event: Event) -> None:
        """Make all checksums with it from now on.

        Raises:
            AnotherSecretAnnouncedError: It is not the one that is announced.
        """

    async def forget(self, event: Event) -> Sequence[NeedOfSecret]:
        """Those that were replaced and that no key needs at the time of the event, which is written down if there are
        any. A key needs one as long as it has neither been revoked nor expired, and a secret of its own that has not
        ended has a checksum of it.

        Returns:
            Keys that need one of the others, by key id: those that do until they are rotated first, and not more than
            ``MOST_NEEDS``.
        """
