"""The tools over which people manage their keys."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from mcp_types import ToolAnnotations
from pydantic import BaseModel

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.field_rules import parse_alias
from mcp_keys_server.core.grant import KEYS_READ, KEYS_WRITE, RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.ledger import Entry
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.server.client_config import snippet
from mcp_keys_server.server.delivery import Call, Delivery
from mcp_keys_server.server.tool_announcement import ConnectionOf, KeyTool, announced
from mcp_keys_server.server.tool_arguments import (
    ClientConfigArguments,
    CreateKeyArguments,
    GetKeyArguments,
    ListEventsArguments,
    ListKeysArguments,
    NoArguments,
    ReviewKeysArguments,
    RevokeKeyArguments,
    RotateKeyArguments,
    UpdateKeyArguments,
)
from mcp_keys_server.server.tool_results import (
    ClientConfig,
    EventList,
    EventView,
    FindingView,
    KeyList,
    KeyReview,
    KeyView,
    RevokedKey,
    WhoAmI,
)

logger = logging.getLogger(__name__)

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_ENDS_LATER = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)
_ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


KEY_TOOLS: Final = frozenset(
    {
        "client_config",
        "create_key",
        "disable_key",
        "enable_key",
        "get_key",
        "list_events",
        "list_keys",
        "revoke_key",
        "review_keys",
        "rotate_key",
        "update_key",
        "whoami",
    }
)
"""The names of all of them, which no tool of an upstream may have."""
READ = frozenset({KEYS_READ})
WRITE = frozenset({KEYS_WRITE})


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
        return await self._delivery.create(call, name=arguments.name, requested=_requested(arguments))

    async def list_keys(self, call: Call, arguments: ListKeysArguments) -> KeyList:
        """List the user's API keys, newest first, expired ones too (see status), never the keys themselves."""
        page = await self._manager.list_keys(
            call.principal, include_ended=arguments.include_revoked, cursor=arguments.cursor
        )
        return KeyList(keys=[self._view(call, key) for key in page.keys], next_cursor=page.next_cursor)

    async def get_key(self, call: Call, arguments: GetKeyArguments) -> KeyView:
        """Show one of the user's API keys: its status, for example, which says whether a new key was claimed."""
        return self._view(call, await self._manager.find_key(call.principal, key_id=arguments.key_id))

    async def rotate_key(self, call: Call, arguments: RotateKeyArguments) -> BaseModel:
        """Give one of the user's API keys a new secret: the same key, with the same rights and end.

        The old secret stays good until overlap_hours are over, so that nothing breaks while clients are changed;
        list_keys shows which secret was last used. A key that was stolen is not rotated but revoked.
        """
        return await self._delivery.rotate(call, key_id=arguments.key_id, overlap_hours=arguments.overlap_hours)

    async def update_key(self, call: Call, arguments: UpdateKeyArguments) -> KeyView:
        """Rename one of the user's API keys, or narrow what it may do and until when. Nothing is ever widened.

        Keys that it made are narrowed with it.
        """
        key = await self._manager.update_key(
            call.principal,
            key_id=arguments.key_id,
            name=arguments.name,
            requested=_requested(arguments),
            client=call.client,
        )
        return self._done("changed", call, key)

    async def disable_key(self, call: Call, arguments: GetKeyArguments) -> KeyView:
        """Refuse one of the user's API keys until it is enabled again; for good, use revoke_key."""
        key = await self._manager.disable_key(call.principal, key_id=arguments.key_id, client=call.client)
        return self._done("disabled", call, key)

    async def enable_key(self, call: Call, arguments: GetKeyArguments) -> KeyView:
        """Let one of the user's API keys in again that was disabled."""
        key = await self._manager.enable_key(call.principal, key_id=arguments.key_id, client=call.client)
        return self._done("enabled", call, key)

    async def revoke_key(self, call: Call, arguments: RevokeKeyArguments) -> RevokedKey:
        """Revoke one of the user's API keys for good, from the next request on: whatever uses it stops working.

        This cannot be undone, so confirm it first; names may repeat, so if several keys fit, ask which one. Keys that
        it made (made_by) stay good unless cascade is true, which is right if it was lost or stolen. Every key may
        revoke itself; revoking the key in use (is_current) ends this connection's access with it.
        """
        also_ended: Sequence[KeyRecord] = ()
        if arguments.cascade:
            key, also_ended = await self._manager.revoke_with_descendants(
                call.principal, key_id=arguments.key_id, reason=arguments.reason, client=call.client
            )
        else:
            key = await self._manager.revoke_key(
                call.principal, key_id=arguments.key_id, reason=arguments.reason, client=call.client
            )
        for one in (key, *also_ended):
            self._done("revoked", call, one)
        ids = [one.key_id for one in also_ended]
        return RevokedKey.of(key, call.principal.key_id, self._clock(), also_ended=ids)

    async def list_events(self, call: Call, arguments: ListEventsArguments) -> EventList:
        """List what was done to the user's API keys, newest first: by which key, when and from where."""
        entries = await self._manager.list_events(call.principal, before=arguments.before)
        return EventList(events=[_event_view(entry) for entry in entries])

    async def review_keys(self, call: Call, arguments: ReviewKeysArguments) -> KeyReview:
        """Find what deserves attention among the user's API keys.

        Never used, unused for long, expiring soon, broader than what they are used for, both secrets of a rotation
        still in use.
        """
        found = await self._manager.review_keys(
            call.principal, unused_days=arguments.unused_days, expiring_days=arguments.expiring_days
        )
        return KeyReview(
            findings=[
                FindingView(key_id=one.key.key_id, name=one.key.name, kind=one.kind, sentence=one.sentence)
                for one in found
            ]
        )

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
        delivered, told = self._delivery.result, self._delivery.told_to_the_model
        tools = (
            announced(self.create_key, "Create an API key", CreateKeyArguments, delivered, _ADDS, WRITE, told),
            announced(self.list_keys, "List your API keys", ListKeysArguments, KeyList, _READS, READ),
            announced(self.get_key, "Show an API key", GetKeyArguments, KeyView, _READS),
            announced(self.rotate_key, "Rotate an API key", RotateKeyArguments, delivered, _ENDS_LATER, WRITE, told),
            announced(self.update_key, "Change an API key", UpdateKeyArguments, KeyView, _ENDS, WRITE),
            announced(self.disable_key, "Disable an API key", GetKeyArguments, KeyView, _ENDS, WRITE),
            announced(self.enable_key, "Enable an API key", GetKeyArguments, KeyView, _CHANGES, WRITE),
            announced(self.revoke_key, "Revoke an API key", RevokeKeyArguments, RevokedKey, _ENDS),
            announced(self.list_events, "What was done", ListEventsArguments, EventList, _READS, READ),
            announced(self.review_keys, "Review your API keys", ReviewKeysArguments, KeyReview, _READS, READ),
            announced(self.whoami, "Who am I?", NoArguments, WhoAmI, _READS),
            announced(self.client_config, "Configure a client", ClientConfigArguments, ClientConfig, _READS),
        )
        return {tool.definition.name: tool for tool in tools}

    def _view(self, call: Call, key: KeyRecord) -> KeyView:
        return KeyView.of(key, call.principal.key_id, self._clock())

    def _done(self, what: str, call: Call, key: KeyRecord) -> KeyView:
        logger.info("%s: key_id=%s user_id=%s by=%s", what, key.key_id, key.user_id, call.principal.key_id)
        return self._view(call, key)


def _requested(arguments: CreateKeyArguments | UpdateKeyArguments) -> RequestedGrant:
    return RequestedGrant(
        scopes=_words(arguments.scopes),
        aliases=_words(arguments.aliases),
        expires_in_days=arguments.expires_in_days,
        tools=_words(arguments.tools),
    )


def _words(words: list[str] | None) -> frozenset[str] | None:
    return None if words is None else frozenset(words)


def _event_view(entry: Entry) -> EventView:
    event = entry.event
    return EventView(
        number=entry.number,
        kind=event.kind,
        at=event.at,
        key_id=event.key_id,
        by=event.by.means,
        by_key_id=event.by.key_id,
        client=event.by.client,
        detail=event.detail,
    )
