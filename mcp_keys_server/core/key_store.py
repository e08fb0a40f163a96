"""The port through which everything kept is read and written."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar

from mcp_keys_server.core.changes import Decide
from mcp_keys_server.core.ledger import Entry, Event
from mcp_keys_server.core.records import KeyRecord, ProvenHash, SecretRecord, Use, UserRecord

Result = TypeVar("Result")


class ChangeWatcher(Protocol):
    """Whoever has to know at once what is changed."""

    def changing(self) -> AbstractContextManager[None]:
        """Entered around every change that this process makes, in the context in which it was asked for."""

    def look_soon(self) -> None:
        """Called after a change of another process that may end something, as far as it is heard of."""


class KeyStore(Protocol):
    """Keeps users, keys and secrets. Every method that was not told otherwise may raise StoreUnavailableError, and
    then has changed nothing.

    What a caller may rely on: a method that returned has made its change durable, and every later read in every
    process sees it; a change is whole or absent, also when its caller is cancelled; a revocation is never undone.
    """

    async def note_public_url(self, url: str) -> None:
        """Write down how the server is reached, for whoever makes links to it from elsewhere."""

    async def noted_public_url(self) -> str | None:
        """As it was written down last."""

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        """What holds for this prefix now: read from the store each time, never from memory."""

    async def read_secret_in_turn(self, prefix: str) -> SecretRecord | None:
        """What held for this prefix at some moment of this turn of the event loop: enough for whoever came over a
        socket in an earlier one.
        """

    async def replace_key_hash(self, prefix: str, *, old: str, new: str, proof: bytes | None) -> None:
        """Put the new hash with its proof in the place of the old one, if that is still there."""

    async def record_proofs(self, proven: Mapping[str, ProvenHash]) -> None:
        """Write down the proofs, by prefix, where the hashes are still those that were proven, and no more."""

    async def add_user(self, user: UserRecord, event: Event) -> None:
        """
        Raises:
            UserExistsError: The user id or the e-mail is taken.
        """

    async def change(self, user_id: str, decide: Decide[Result]) -> Result:
        """Show what the user holds, write what is decided on it, and give its answer, all in one transaction: nobody
        else changes anything of this user's in between.

        Raises:
            UserNotFoundError: There is no such user.
            PrefixTakenError: Another secret has the prefix of a new one.
            ChecksumSecretReplacedError: A new one has a checksum of a secret that was replaced.
            ClaimNotOpenError: A claim that was to be spent is spent.
            Whatever ``decide`` raises.
        """

    async def add_event(self, event: Event) -> None:
        """Write down what changed nothing."""

    async def list_events(self, user_id: str | None, *, before: int, limit: int) -> Sequence[Entry]:
        """One user's or everybody's entries with a number below that, the newest first."""

    async def follow_events(self, first: int, *, limit: int) -> Sequence[Entry]:
        """Everybody's entries from that number on, the oldest first.

        Raises:
            BrokenLedgerError: One of them cannot have been written by this program.
        """

    async def find_user(self, user_id_or_email: str) -> UserRecord | None: ...

    async def list_users(self) -> Sequence[UserRecord]:
        """All of them, by user id."""

    async def find_invitation(self, digest: bytes) -> KeyRecord | None:
        """The key to which the invitation with this digest of its code gives the claim."""

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

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        """Write down the use of secrets, by prefix, and of their keys: when, from where, how often, and no more."""

    async def check(self) -> None:
        """Say by returning that the store answers."""
