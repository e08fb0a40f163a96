"""What the tools give, as their schemas tell it to every client."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from mcp_keys_server.core.ledger import EventKind
from mcp_keys_server.core.records import KeyRecord, KeyStatus
from mcp_keys_server.core.review import FindingKind
from mcp_keys_server.server.client_config import Client


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
    tools: list[str] | None = Field(description="The tools that it may call there, as ALIAS:TOOL; null: all of them.")
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
            tools=None if grant.tools is None else sorted(grant.tools),
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


class FindingView(BaseModel):
    """One thing about one key."""

    key_id: str
    name: str
    kind: FindingKind
    sentence: str = Field(description="What it is and what may be done.")


class KeyReview(BaseModel):
    """What deserves attention; nothing when all is well."""

    findings: list[FindingView]


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
