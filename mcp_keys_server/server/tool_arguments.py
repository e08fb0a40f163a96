"""What the tools take, as their schemas tell it to every client."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from mcp_keys_server.core.field_rules import LONGEST_LIFE_DAYS, LONGEST_OVERLAP_HOURS
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_manager import OVERLAP_HOURS
from mcp_keys_server.core.review import EXPIRING_DAYS, UNUSED_DAYS
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
    tools: list[str] | Null = Field(
        default=None,
        description="Which tools the new key may call at these endpoints, as ALIAS:TOOL, where * stands for any "
        "characters, for example ['notes:read_*']. Left out: as the key in use.",
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
    tools: list[str] | Null = Field(default=None, description="What is left of its tools, as ALIAS:TOOL, also with *.")
    expires_in_days: Annotated[float, Field(strict=True, gt=0, le=LONGEST_LIFE_DAYS)] | Null = Field(
        default=None, description="In how many days from now it ends, earlier than before."
    )


class ListEventsArguments(Arguments):
    before: Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)] | Null = Field(
        default=None, description="The number of the last event of the previous page."
    )


class ClientConfigArguments(Arguments):
    client: Client = Field(description="The client to configure; mcp-json fits most that are not named.")
    alias: str = Field(default=KEYS_ALIAS, description="Which of the user's endpoints, by alias.")


class NoArguments(Arguments):
    pass


class ReviewKeysArguments(Arguments):
    unused_days: Annotated[float, Field(strict=True, gt=0, le=LONGEST_LIFE_DAYS)] = Field(
        default=UNUSED_DAYS, description="After how many days without use a key is found to be unused."
    )
    expiring_days: Annotated[float, Field(strict=True, gt=0, le=LONGEST_LIFE_DAYS)] = Field(
        default=EXPIRING_DAYS, description="How many days before its end a key is found to expire soon."
    )
