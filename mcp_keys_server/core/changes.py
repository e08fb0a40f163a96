"""What a change is made of: what a store shows before it, and what it writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from mcp_keys_server.core.ledger import Event
from mcp_keys_server.core.records import Claim, KeyRecord, UserRecord

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Holdings:
    """A user with their keys, as they are in the moment of a change."""

    user: UserRecord
    keys: Mapping[str, KeyRecord]
    """Those that were not revoked, by key id."""
    makers: Mapping[str, str]
    """Of every key that a key made, revoked ones too, which one that was."""

    def descendants(self, key_id: str) -> list[KeyRecord]:
        """All that it made, that they made, and so on, as far as they were not revoked."""
        return [self.keys[child] for child in made_by({key_id}, self.makers) if child in self.keys]


def made_by(key_ids: Collection[str], makers: Mapping[str, str]) -> Sequence[str]:
    """The key ids of all that these made, that those made, and so on, when every key has this maker."""
    children: dict[str, list[str]] = {}
    for child, maker in makers.items():
        children.setdefault(maker, []).append(child)
    found: list[str] = []
    generation = list(key_ids)
    while generation:
        generation = sorted(child for maker in generation for child in children.pop(maker, ()))
        found += generation
    return found


@dataclass(frozen=True, slots=True)
class AddKey:
    key: KeyRecord


@dataclass(frozen=True, slots=True)
class KeepKey:
    """Write down the name, the grant and whether it is disabled, as they are in this record."""

    key: KeyRecord


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Write down when, why and by whom, as they are in this record."""

    key: KeyRecord


@dataclass(frozen=True, slots=True)
class PutClaim:
    """In the place of the key's claim before, if there was one."""

    key_id: str
    claim: Claim
    invitation_digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class SpendClaim:
    key_id: str
    at: datetime
    claimed_from: str | None


@dataclass(frozen=True, slots=True)
class AddSecret:
    key_id: str
    prefix: str
    key_hash: str
    at: datetime
    proof: bytes | None = None
    made_with: bytes | None = None
    """The id of the checksum secret; None: it has no checksum, because it was made elsewhere."""


@dataclass(frozen=True, slots=True)
class EndSecret:
    prefix: str
    at: datetime | None
    """None: as late as its key, after all."""


@dataclass(frozen=True, slots=True)
class RemoveSecret:
    prefix: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Those of the pages that the key began, or, with None, all keys of the user."""

    key_id: str | None


@dataclass(frozen=True, slots=True)
class DisableUser:
    """Or enable them, with None."""

    at: datetime | None


Change = (
    AddKey
    | KeepKey
    | RevokeKey
    | PutClaim
    | SpendClaim
    | AddSecret
    | EndSecret
    | RemoveSecret
    | EndSessions
    | DisableUser
)


@dataclass(frozen=True, slots=True)
class Decision(Generic[Result_co]):
    """What is to be written, in this order, and the answer to whoever asked."""

    answer: Result_co
    changes: tuple[Change, ...] = ()
    events: tuple[Event, ...] = ()


Decide = Callable[[Holdings], Decision[Result]]
"""Called within the transaction, with what holds then and nothing older; an error that it raises changes nothing."""
