"""What the tools take and give, as their schemas tell it to every client."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from mcp_keys_server.core.field_rules import LONGEST_LIFE_DAYS
from mcp_keys_server.core.records import KeyStatus

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
    include_revoked: bool = Field(default=False, description="Also list keys that were revoked.")
    cursor: str | Null = Field(default=None, description="The next_cursor of the previous page.")


class RevokeKeyArguments(Arguments):
    key_id: str = Field(description="The id of the key (key_…, from list_keys); never the key itself.")
    reason: str | Null = Field(default=None, description="Why, for the record (up to 200 characters).")


class NoArguments(Arguments):
    pass


class KeyView(BaseModel):
    """A key as lists show it: never its plaintext or hash."""

    key_id: str
    name: str
    prefix: str = Field(description="The first characters of the key after its tag, to recognise it by.")
    scopes: list[str]
    aliases: list[str] | None = Field(description="The endpoints that it opens; null: all of its owner's.")
    status: KeyStatus
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    use_count: int
    revoked_at: datetime | None
    revoked_reason: str | None
    made_by: str | None = Field(description="The key_id of the key that made this one; null: the operator made it.")
    is_current: bool = Field(description="Whether this is the key with which you are calling.")


class CreatedKey(KeyView):
    """A new key with its plaintext."""

    key: str = Field(description="The API key itself. It is shown this once and cannot be had again.")


class KeyList(BaseModel):
    """One page of keys, newest first."""

    keys: list[KeyView]
    next_cursor: str | None = Field(description="Pass it as cursor for the next page; null: this was the last.")


class WhoAmI(BaseModel):
    """Who is calling, with which key."""

    user_id: str
    key: KeyView
