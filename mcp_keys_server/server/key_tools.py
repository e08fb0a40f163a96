"""The tools over which people manage their keys."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, Principal
from mcp_keys_server.server.tool_shapes import (
    Arguments,
    CreatedKey,
    CreateKeyArguments,
    KeyList,
    KeyView,
    ListKeysArguments,
    NoArguments,
    RevokeKeyArguments,
    WhoAmI,
)

logger = logging.getLogger(__name__)

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
_ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True, slots=True)
class KeyTool:
    """One tool: how it is announced, what it takes, and what it does for a principal."""

    definition: Tool
    arguments: type[Arguments]
    run: Callable[[Principal, Any], Awaitable[BaseModel]]


class KeyTools:
    """The four tools. Who is asking comes with each call, from the credential alone."""

    def __init__(self, manager: KeyManager, *, clock: Clock = utc_now) -> None:
        self._manager = manager
        self._clock = clock

    async def create_key(self, principal: Principal, arguments: CreateKeyArguments) -> CreatedKey:
        """Create a new API key for the user, for another client or program.

        It can do at most what the key in use can. The result holds the key itself, this once: show it to the user,
        who puts it into the other client as "Authorization: Bearer KEY", and do not repeat it afterwards.
        """
        requested = RequestedGrant(
            scopes=None if arguments.scopes is None else frozenset(arguments.scopes),
            aliases=None if arguments.aliases is None else frozenset(arguments.aliases),
            expires_in_days=arguments.expires_in_days,
        )
        record, key = await self._manager.create_key(principal, name=arguments.name, requested=requested)
        logger.info("created: key_id=%s user_id=%s by=%s", record.key_id, record.user_id, principal.key_id)
        return CreatedKey(key=key.reveal(), **self._view(principal, record).model_dump())

    async def list_keys(self, principal: Principal, arguments: ListKeysArguments) -> KeyList:
        """List the user's API keys, newest first, expired ones too (see status), never the keys themselves."""
        page = await self._manager.list_keys(
            principal, include_revoked=arguments.include_revoked, cursor=arguments.cursor
        )
        return KeyList(keys=[self._view(principal, key) for key in page.keys], next_cursor=page.next_cursor)

    async def revoke_key(self, principal: Principal, arguments: RevokeKeyArguments) -> KeyView:
        """Revoke one of the user's API keys for good, from the next request on: whatever uses it stops working.

        This cannot be undone, so confirm it first; names may repeat, so if several keys fit, ask which one. Keys that
        it made (made_by) stay good: revoke those too if it was lost or stolen. Every key may revoke itself; revoking
        the key in use (is_current) ends this connection's access with it.
        """
        record = await self._manager.revoke_key(principal, key_id=arguments.key_id, reason=arguments.reason)
        logger.info("revoked: key_id=%s user_id=%s by=%s", record.key_id, record.user_id, principal.key_id)
        return self._view(principal, record)

    async def whoami(self, principal: Principal, _: NoArguments) -> WhoAmI:
        """Say whose API key is in use, what it may do and when it expires."""
        key = await self._manager.current_key(principal)
        return WhoAmI(user_id=principal.user_id, key=self._view(principal, key))

    def table(self) -> Mapping[str, KeyTool]:
        """The tools by name, in the order in which they are listed."""
        tools = (
            _tool(self.create_key, "Create an API key", CreateKeyArguments, CreatedKey, _ADDS),
            _tool(self.list_keys, "List your API keys", ListKeysArguments, KeyList, _READS),
            _tool(self.revoke_key, "Revoke an API key", RevokeKeyArguments, KeyView, _ENDS),
            _tool(self.whoami, "Who am I?", NoArguments, WhoAmI, _READS),
        )
        return {tool.definition.name: tool for tool in tools}

    def _view(self, principal: Principal, record: KeyRecord) -> KeyView:
        grant = record.grant
        return KeyView(
            key_id=record.key_id,
            name=record.name,
            prefix=record.prefix,
            scopes=sorted(grant.scopes),
            aliases=None if grant.aliases is None else sorted(grant.aliases),
            status=record.status(self._clock()),
            created_at=record.created_at,
            expires_at=grant.expires_at,
            last_used_at=record.last_used_at,
            use_count=record.use_count,
            revoked_at=record.revoked_at,
            revoked_reason=record.revoked_reason,
            made_by=record.parent_key_id,
            is_current=record.key_id == principal.key_id,
        )


def _tool(
    run: Callable[[Principal, Any], Awaitable[BaseModel]],
    title: str,
    arguments: type[Arguments],
    result: type[BaseModel],
    annotations: ToolAnnotations,
) -> KeyTool:
    definition = Tool(
        name=run.__name__,
        title=title,
        description=inspect.getdoc(run),
        input_schema=arguments.model_json_schema(),
        output_schema=result.model_json_schema(mode="serialization"),
        annotations=annotations,
    )
    return KeyTool(definition, arguments, run)
