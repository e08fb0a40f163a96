"""The tools over which people manage their keys."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.field_rules import parse_alias
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.server.client_config import Connection, snippet
from mcp_keys_server.server.delivery import Call, Delivery
from mcp_keys_server.server.tool_shapes import (
    Arguments,
    ClientConfig,
    ClientConfigArguments,
    CreateKeyArguments,
    GetKeyArguments,
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


Run = Callable[[Call, Any], Awaitable[BaseModel]]
ConnectionOf = Callable[[str, str], Connection]
"""How a client reaches the endpoint of this user with this alias."""


@dataclass(frozen=True, slots=True)
class KeyTool:
    """One tool: how it is announced, what it takes, and what it does for a call."""

    definition: Tool
    arguments: type[Arguments]
    run: Run


class KeyTools:
    """The tools. Who is asking comes with each call, from the credential alone."""

    def __init__(
        self, manager: KeyManager, delivery: Delivery, connection_of: ConnectionOf, *, clock: Clock = utc_now
    ) -> None:
        self._manager = manager
        self._delivery = delivery
        self._connection_of = connection_of
        self._clock = clock

    async def create_key(self, call: Call, arguments: CreateKeyArguments) -> BaseModel:
        """Create a new API key for the user, for another client or program.

        It can do at most what the key in use can.
        """
        requested = RequestedGrant(
            scopes=None if arguments.scopes is None else frozenset(arguments.scopes),
            aliases=None if arguments.aliases is None else frozenset(arguments.aliases),
            expires_in_days=arguments.expires_in_days,
        )
        return await self._delivery.create(call, name=arguments.name, requested=requested)

    async def list_keys(self, call: Call, arguments: ListKeysArguments) -> KeyList:
        """List the user's API keys, newest first, expired ones too (see status), never the keys themselves."""
        page = await self._manager.list_keys(
            call.principal, include_ended=arguments.include_revoked, cursor=arguments.cursor
        )
        return KeyList(keys=[self._view(call, key) for key in page.keys], next_cursor=page.next_cursor)

    async def get_key(self, call: Call, arguments: GetKeyArguments) -> KeyView:
        """Show one of the user's API keys: its status, for example, which says whether a new key was claimed."""
        return self._view(call, await self._manager.find_key(call.principal, key_id=arguments.key_id))

    async def revoke_key(self, call: Call, arguments: RevokeKeyArguments) -> KeyView:
        """Revoke one of the user's API keys for good, from the next request on: whatever uses it stops working.

        This cannot be undone, so confirm it first; names may repeat, so if several keys fit, ask which one. Keys that
        it made (made_by) stay good: revoke those too if it was lost or stolen. Every key may revoke itself; revoking
        the key in use (is_current) ends this connection's access with it.
        """
        by = call.principal.key_id
        record = await self._manager.revoke_key(call.principal, key_id=arguments.key_id, reason=arguments.reason)
        logger.info("revoked: key_id=%s user_id=%s by=%s", record.key_id, record.user_id, by)
        return self._view(call, record)

    async def whoami(self, call: Call, _: NoArguments) -> WhoAmI:
        """Say whose API key is in use, what it may do and when it expires."""
        key = await self._manager.current_key(call.principal)
        return WhoAmI(user_id=call.principal.user_id, key=self._view(call, key))

    async def client_config(self, call: Call, arguments: ClientConfigArguments) -> ClientConfig:
        """Show what to paste into an MCP client so that it uses one of the user's endpoints.

        It holds YOUR_KEY where the user puts one of their keys; never ask them for it.
        """
        alias = parse_alias(arguments.alias)
        made = snippet(arguments.client, self._connection_of(call.principal.user_id, alias), alias=alias)
        return ClientConfig(client=made.client, title=made.title, where=made.where, text=made.text)

    def table(self) -> Mapping[str, KeyTool]:
        """The tools by name, in the order in which they are listed."""
        tools = (
            _tool(
                self.create_key,
                "Create an API key",
                CreateKeyArguments,
                self._delivery.result,
                _ADDS,
                more_description=self._delivery.told_to_the_model,
            ),
            _tool(self.list_keys, "List your API keys", ListKeysArguments, KeyList, _READS),
            _tool(self.get_key, "Show an API key", GetKeyArguments, KeyView, _READS),
            _tool(self.revoke_key, "Revoke an API key", RevokeKeyArguments, KeyView, _ENDS),
            _tool(self.whoami, "Who am I?", NoArguments, WhoAmI, _READS),
            _tool(self.client_config, "Configure a client", ClientConfigArguments, ClientConfig, _READS),
        )
        return {tool.definition.name: tool for tool in tools}

    def _view(self, call: Call, key: KeyRecord) -> KeyView:
        return KeyView.of(key, call.principal.key_id, self._clock())


def _tool(  # noqa: PLR0913 - what a tool is announced with
    run: Run,
    title: str,
    arguments: type[Arguments],
    result: type[BaseModel],
    annotations: ToolAnnotations,
    *,
    more_description: str = "",
) -> KeyTool:
    definition = Tool(
        name=run.__name__,
        title=title,
        description=f"{inspect.getdoc(run)} {more_description}".rstrip(),
        input_schema=arguments.model_json_schema(),
        output_schema=result.model_json_schema(mode="serialization"),
        annotations=annotations,
    )
    return KeyTool(definition, arguments, run)
