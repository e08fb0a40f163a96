"""The port through which everything kept is read and written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from mcp_keys_server.core.records import Claim, Claimant, KeyRecord, SecretRecord, Use, UserRecord


class KeyStore(Protocol):
    """Keeps users, keys and secrets. Every method that was not told otherwise may raise StoreUnavailableError, and
    then has changed nothing.

    What a caller may rely on: a method that returned has made its change durable, and every later read in every
    process sees it; a change is whole or absent, also when its caller is cancelled; a revocation is never undone.
    """

    @property
    def checksum_secret(self) -> bytes:
        """The secret of the keys' checksums, minted with the database."""

    async def note_public_url(self, url: str) -> None:
        """Write down how the server is reached, for whoever makes links to it from elsewhere."""

    async def noted_public_url(self) -> str | None:
        """As it was written down last."""

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

    async def add_unclaimed_key(self, key: KeyRecord, claim: Claim, *, invitation_digest: bytes | None) -> None:
        """Add a key without a secret, by the same rule, and the claim to its secret. One by invitation revokes, in the
        same moment, those of its user that are still open.

        Raises:
            KeyNoLongerGoodError: The parent is revoked, expired or its owner disabled.
        """

    async def spend_claim(
        self, key_id: str, claimant: Claimant, *, prefix: str, key_hash: str, at: datetime
    ) -> KeyRecord:
        """Give an unclaimed key its secret, the first that comes and no other; and what is known of it then.

        Raises:
            PrefixTakenError: Another secret has this prefix; the claim is not spent.
            ClaimNotOpenError: It is spent or lapsed, or the key, its maker or its owner is not good any more.
            KeyNoLongerGoodError: The key of the claimant is revoked or expired.
        """

    async def find_invitation(self, digest: bytes) -> KeyRecord | None:
        """The key to which the invitation with this digest of its code gives the claim."""

    async def rename_key(self, user_id: str, key_id: str, name: str) -> KeyRecord | None:
        """None when they have no such key."""

    async def has_secrets(self) -> bool:
        """Whether anybody has ever had a key."""

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None: ...

    async def find_owner(self, key_id: str) -> str | None:
        """The user id of whoever has this key. For the operator only."""

    async def list_keys(
        self, user_id: str, *, include_ended: bool, now: datetime, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        """A user's keys, newest first, those that follow the key id ``after``. Ended are those that were revoked, and
        those whose claim has lapsed by ``now``.
        """

    async def list_all_keys(self, user_id: str | None, *, include_ended: bool, now: datetime) -> Sequence[KeyRecord]:
        """One user's or everybody's keys, by user, newest first. For the operator only."""

    async def revoke_key(self, user_id: str, key_id: str, *, at: datetime, reason: str | None) -> KeyRecord | None:
        """End a key of this user; one that has ended before keeps its first end. None when they have no such key."""

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        """Write down the use of keys, by key id: these two columns and no others."""

    async def check(self) -> None:
        """Say by returning that the store answers."""
