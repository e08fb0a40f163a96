"""What the tools take and give, as their schemas tell it to every client."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from mcp_keys_server.core.field_rules import LONGEST_LIFE_DAYS, LONGEST_OVERLAP_HOURS
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_manager import OVERLAP_HOURS
from mcp_keys_server.core.ledger import EventKind
from mcp_keys_server.core.records import KeyRecord, KeyStatus
from mcp_keys_server.server.client_config import Client

# A field may be null as well as left out, but its schema names the plain type only: some clients read no more.
Null = SkipJsonSchema[None]


def _without_null_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


class Arguments(BaseModel):
    """What a tool takes: nothing unknown, and nothing of it in any error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra=_without_null_defaults
    )


class CreateKeyArguments(Arguments):
    name: str = Field(description="What the key is for, for example 'Laptop' (1-64 printable characters).")
    scopes: list[str] | Null = Field(
        default=None,
        description="What the new key may do, at most what the key in use may, for example ['keys:read']. "
        "Left out: all of that except keys:write.",
    )
    aliases: list[str] | Null = Field(
        default=None,
        description="Which of the user's endpoints the new key opens, by alias; these tools are at 'keys', and a key "
        "without it cannot call them. Left out, which is best unless the user names some: as the key in use.",
    )
    expires_in_days: Annotated[float, Field(strict=True, gt=0, le=LONGEST_LIFE_DAYS)] | Null = Field(
        default=None,
        description="How long the new key lives, in days; 0.5 is twelve hours. Left out: as long as the key in use.",
    )


class ListKeysArguments(Arguments):
    include_revoked: bool = Field(
        default=False, description="Also list keys that were revoked, or not claimed in time."
    )
    cursor: str | Null = Field(default=None, description="The next_cursor of the previous page.")


KeyId = Annotated[str, Field(description="The id of the key (key_…, from list_keys); never the key itself.")]


class GetKeyArguments(Arguments):
    key_id: KeyId


class RevokeKeyArguments(Arguments):
    key_id: KeyId
    reason: str | Null = Field(default=None, description="Why, for the record (up to 200 characters).")
    cascade: bool = Field(
        default=False, description="Also end every key that it made, that they made, and so on: if it was stolen."
    )


class RotateKeyArguments(Arguments):
    key_id: KeyId
    overlap_hours: Annotated[float, Field(strict=True, ge=0, le=LONGEST_OVERLAP_HOURS)] = Field(
        default=OVERLAP_HOURS,
        description="How long the old secret stays good beside the new one; 0: not at all, if it was leaked.",
    )


class UpdateKeyArguments(Arguments):
    key_id: KeyId
    name: str | Null = Field(default=None, description="A new name.")
    scopes: list[str] | Null = Field(default=None, description="What is left of its scopes.")
    aliases: list[str] | Null = Field(default=None, description="What is left of its endpoints, by alias.")
    expires_in_days: Annotated[float, Field(strict=True, gt=0, le=LONGEST_LIFE_DAYS)] | Null = Field(
        default=None, description="In how many days from now it ends, earlier than before."
    )


class ListEventsArguments(Arguments):
    before: Annotated[int, Field(strict=True, ge=1)] | Null = Field(
        default=None, description="The number of the last event of the previous page."
    )


class ClientConfigArguments(Arguments):
    client: Client = Field(description="The client to configure; mcp-json fits most that are not named.")
    alias: str = Field(default=KEYS_ALIAS, description="Which of the user's endpoints, by alias.")


class NoArguments(Arguments):
    pass


class SecretView(BaseModel):
    """One secret of a key; a rotation gives it a second one for a while."""

    prefix: str = Field(description="Its first characters after the tag, to recognise it by.")
    created_at: datetime
    ends_at: datetime | None = Field(description="When it ends because a newer one took its place.")
    last_used_at: datetime | None


class KeyView(BaseModel):
    """A key as lists show it: never its plaintext or hash."""

    key_id: str
    name: str
    prefix: str | None = Field(
        description="The first characters of the key after its tag, to recognise it by; null: it is unclaimed."
    )
    scopes: list[str]
    aliases: list[str] | None = Field(description="The endpoints that it opens; null: all of its owner's.")
    status: KeyStatus
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None = Field(description="The network address.")
    use_count: int
    secrets: list[SecretView] = Field(description="The newest first. last_used_at tells which one its clients use.")
    revoked_at: datetime | None
    revoked_reason: str | None
    revoked_by: str | None
    made_by: str | None = Field(description="The key_id of the key that made this one; null: the operator made it.")
    claim_lapses_at: datetime | None = Field(description="Until when its owner can claim a new secret.")
    claimed_at: datetime | None = Field(
        description="When its owner was shown the key; null: not by a link, or not yet."
    )
    claimed_from: str | None = Field(description="From which network address that was.")
    is_current: bool = Field(description="Whether this is the key with which you are calling.")

    @classmethod
    def of(cls, record: KeyRecord, current_key_id: str, now: datetime, **more: Any) -> Self:  # noqa: ANN401 - fields of the view
        """The record as this view, with the fields that the view has besides."""
        grant, claim = record.grant, record.claim
        return cls(
            key_id=record.key_id,
            name=record.name,
            prefix=record.prefix,
            scopes=sorted(grant.scopes),
            aliases=None if grant.aliases is None else sorted(grant.aliases),
            status=record.status(now),
            created_at=record.created_at,
            expires_at=grant.expires_at,
            last_used_at=record.last_used_at,
            last_used_from=record.last_used_from,
            use_count=record.use_count,
            secrets=[
                SecretView(
                    prefix=secret.prefix,
                    created_at=secret.created_at,
                    ends_at=secret.ends_at,
                    last_used_at=secret.last_used_at,
                )
                for secret in record.live_secrets(now)
            ],
            revoked_at=record.revoked_at,
            revoked_reason=record.revoked_reason,
            revoked_by=record.revoked_by,
            made_by=record.parent_key_id,
            claim_lapses_at=claim.lapses_at if claim and record.awaits_claim(now) else None,
            claimed_at=claim.claimed_at if claim else None,
            claimed_from=claim.claimed_from if claim else None,
            is_current=record.key_id == current_key_id,
            **more,
        )


class ClaimableKey(KeyView):
    """A new key that waits to be claimed by its owner."""

    claim_url: str = Field(description="The page on which the user, signed in, is shown the key. It holds no secret.")
    what_to_do: str


class KeyInFile(KeyView):
    """A new key that was written to a file."""

    key_file: str = Field(description="The file that holds the key, on the machine of this server.")
    what_to_do: str


class KeyInline(KeyView):
    """A new key with its plaintext."""

    key: str = Field(description="The API key itself. It is shown this once and cannot be had again.")
    what_to_do: str


class KeyList(BaseModel):
    """One page of keys, newest first."""

    keys: list[KeyView]
    next_cursor: str | None = Field(description="Pass it as cursor for the next page; null: this was the last.")


class RevokedKey(KeyView):
    """The key that was to be ended, and all that ended with it."""

    also_ended: list[str] = Field(description="With cascade, the key_ids of the others that ended with it now.")


class EventView(BaseModel):
    """One thing that was done."""

    number: int
    kind: EventKind
    at: datetime
    key_id: str | None
    by: str = Field(description="key, person, operator or invitation.")
    by_key_id: str | None
    client: str | None = Field(description="The network address.")
    detail: str


class EventList(BaseModel):
    """One page of events, newest first."""

    events: list[EventView]


class WhoAmI(BaseModel):
    """Who is calling, with which key."""

    user_id: str
    key: KeyView


class ClientConfig(BaseModel):
    """What to paste into a client, with a placeholder for the key."""

    client: Client
    title: str
    where: str = Field(description="Where the text goes.")
    text: str = Field(description="The configuration. The user puts their own key in the place of YOUR_KEY.")
