"""The port through which everything kept is read and written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from mcp_keys_server.core.records import KeyRecord, SecretRecord, Use, UserRecord


class KeyStore(Protocol):
    """Keeps users, keys and secrets. Every method that was not told otherwise may raise StoreUnavailableError, and
    then has changed nothing.

    What a caller may rely on: a method that returned has made its change durable, and every later read in every
    process sees it; a change is whole or absent, also when its caller is cancelled; a revocation is never undone.
    """

    @property
    def checksum_secret(self) -> bytes:
        """The secret of the keys' checksums, minted with the database."""

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        """What holds for this prefix now: read from the store each time, never from memory."""

    async def replace_key_hash(self, prefix: str, *, old: str, new: str) -> None:
        """Put the new hash in the place of the old one, if that is still there."""

    async def add_user(self, user: UserRecord) -> None:
        """
        Raises:
            UserExistsError: The user id or the e-mail is taken.
        """

    async def find_user(self, user_id_or_email: str) -> UserRecord | None: ...

    async def list_users(self) -> Sequence[UserRecord]:
        """All of them, by user id."""

    async def add_key(self, key: KeyRecord, key_hash: str) -> None:
        """Add a key together with its secret, if the key that makes it, where there is one, is good at that moment.

        Raises:
            PrefixTakenError: Another secret has this prefix.
            KeyNoLongerGoodError: The parent is revoked, expired or its owner disabled.
        """

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None: ...

    async def find_owner(self, key_id: str) -> str | None:
        """The user id of whoever has this key. For the operator only."""

    async def list_keys(
        self, user_id: str, *, include_revoked: bool, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        """A user's keys, newest first, those that follow the key id ``after``."""

    async def list_all_keys(self, user_id: str | None, *, include_revoked: bool) -> Sequence[KeyRecord]:
        """One user's or everybody's keys, by user, newest first. For the operator only."""

    async def revoke_key(self, user_id: str, key_id: str, *, at: datetime, reason: str | None) -> KeyRecord | None:
        """End a key of this user; one that has ended before keeps its first end. None when they have no such key."""

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        """Write down the use of keys, by key id: these two columns and no others."""

    async def check(self) -> None:
        """Say by returning that the store answers."""
