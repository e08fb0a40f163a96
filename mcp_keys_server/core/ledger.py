"""The ledger: what was done to which key, by whom, when and from where, each entry tied to the one before it.

An entry is written in the same transaction as the change that it tells of. Its digest covers the digest before it, so
that an entry which is changed, removed or put elsewhere breaks the chain from there on; and a head that is kept outside
the database shows an end that was cut off, such as when an old backup was restored.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal

from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.core.records import Actor


class EventKind(StrEnum):
    USER_ADDED = "user_added"
    USER_IMPORTED = "user_imported"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    KEY_CREATED = "key_created"
    KEY_IMPORTED = "key_imported"
    KEY_CLAIMED = "key_claimed"
    KEY_ROTATED = "key_rotated"
    KEY_CHANGED = "key_changed"
    KEY_DISABLED = "key_disabled"
    KEY_ENABLED = "key_enabled"
    KEY_REVOKED = "key_revoked"
    REFUSED = "refused"
    CHECKSUM_SECRET_REPLACED = "checksum_secret_replaced"  # noqa: S105 - its name
    CHECKSUM_SECRETS_FORGOTTEN = "checksum_secrets_forgotten"


Means = Literal["key", "person", "operator", "invitation"]


@dataclass(frozen=True, slots=True)
class Doer:
    """Who did it: a key, a person whom a proxy had signed in, the operator, or whoever held an invitation."""

    means: Means
    key_id: str | None = None
    client: str | None = None
    """The network address; None on the machine itself."""

    @classmethod
    def of(cls, actor: Actor, client: str | None) -> "Doer":
        return cls("person" if actor.key_id is None else "key", actor.key_id, client)


OPERATOR: Final = Doer("operator")
EVERYBODY: Final = ""
"""No user has this id."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done. It holds no secret."""

    kind: EventKind
    at: datetime
    user_id: str
    """Whose key it was, or which user; ``EVERYBODY``: it concerns all of them."""
    key_id: str | None
    by: Doer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place, the first being 1."""

    number: int
    event: Event
    digest: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the ledger at some moment: all that must be kept outside to prove later what came before."""

    number: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """
        Raises:
            ValueError: It is not what ``str`` of a head gives.
        """
        parts = _HEAD.fullmatch(text.strip())
        if parts is None:
            raise ValueError("a head is a number, ':' and 64 hexadecimal digits")
        head = cls(int(parts["number"]), bytes.fromhex(parts["digest"]))
        if head.number == 0 and head != BEGINNING:
            raise ValueError("before the first entry, all digits of the head are 0")
        return head


_HEAD = re.compile(r"(?P<number>[0-9]{1,18}):(?P<digest>[0-9a-f]{64})")
BEGINNING: Final = Head(0, bytes(32))
OLDEST: Final = -(2**63)
"""No entry has such a number, unless somebody else wrote it."""


class BrokenLedgerError(McpKeysError):
    """The ledger is not what was written: the message names the first entry that shows it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the ledger is broken: {what}")


def digest_of(event: Event, before: Head) -> bytes:
    """SHA-256 over the digest before, the number and the event as JSON of one spelling."""
    fields = [
        before.number + 1,
        event.kind,
        event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        event.user_id,
        event.key_id,
        event.by.means,
        event.by.key_id,
        event.by.client,
        event.detail,
    ]
    return hashlib.sha256(before.digest + json.dumps(fields, separators=(",", ":")).encode("ascii")).digest()


def follow(known: Head = BEGINNING) -> Generator[Head, Entry | None, None]:
    """Takes the entries one by one, from the first on, and gives the head after each, as long as the chain holds. None
    in the place of an entry says that it was the last.

    Raises:
        BrokenLedgerError: An entry is missing, out of its place or changed; or the chain does not lead past the head
            that is known.
    """
    head = BEGINNING
    while (entry := (yield head)) is not None:
        expected = head.number + 1
        if entry.number != expected:
            raise BrokenLedgerError(f"entry {expected} is missing")
        head = Head(expected, digest_of(entry.event, head))
        if entry.digest != head.digest:
            raise BrokenLedgerError(f"entry {expected} was changed, or one before it was put elsewhere")
        if expected == known.number and head.digest != known.digest:
            raise BrokenLedgerError(f"entry {expected} is not the one that was there: the ledger was written anew")
    if head.number < known.number:
        raise BrokenLedgerError(
            f"it ends with entry {head.number}, and entry {known.number} was there before: an older database was put "
            "in its place, and keys that were revoked since may be good again"
        )
    yield head


async def follow_all(read: Callable[[int], Awaitable[Sequence[Entry]]], known: Head = BEGINNING) -> Head:
    """Follow the ledger from its beginning, past the head that is known, to its end; that is the new head.

    Entries are read some at a time, by the number of the first; after the last there are none.

    Raises:
        BrokenLedgerError: It is not what was written; the message names the first entry that shows it.
    """
    follower = follow(known)
    head = next(follower)
    first = OLDEST
    while entries := await read(first):
        for entry in entries:
            head = follower.send(entry)
        first = head.number + 1
    follower.send(None)
    return head
