"""An MCP server somewhere else, as the application behind one alias."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from time import monotonic
from typing import Final

import anyio
import httpcore2
from mcp import Client
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.answers import INVALID_REQUEST, refusal
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.remotes.posted_message import TOOLS_CALL, ClientGoneError, Message, posted
from mcp_keys_server.server.gateway.remotes.presence import Presence
from mcp_keys_server.server.gateway.remotes.public_network import PublicNetwork
from mcp_keys_server.server.gateway.remotes.relay_trouble import (
    RequestId,
    Trouble,
    TroubleError,
    TroubleLog,
    sentence,
    shown_reason,
)
from mcp_keys_server.server.gateway.remotes.relayed_answer import RelayedAnswer
from mcp_keys_server.server.gateway.remotes.relayed_headers import RelayedHeaders, is_modern
from mcp_keys_server.server.gateway.remotes.remote_connection import RemoteConnection
from mcp_keys_server.server.gateway.remotes.remote_relay import Asked, Relay
from mcp_keys_server.server.gateway.remotes.shown_tools import shown_tools
from mcp_keys_server.server.gateway.remotes.tool_pages import tool_pages
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.gateway.tool_rules import ToolRules
from mcp_keys_server.server.gateway.usage import UsageBook
from mcp_keys_server.upstreams import RemoteUpstream

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LISTINGS: Final = 10.0
"""Of our own: for a tool that there is not, it would be listed at every call."""
OTHERS_AT_ONCE: Final = 32
"""Of one user, open requests that are neither calls nor streams; or as many as calls, if those may be more."""
MOST_LISTINGS: Final = 1_000
"""Users of whom it is known when their tools were listed."""
ONLY_THESE: Final = refusal(
    405, "This endpoint answers POST, GET and DELETE.", code=INVALID_REQUEST, allow="POST, GET, DELETE"
)


@dataclass(slots=True)
class _Listing:
    """Of the tools, for one user, by us."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    began_at: float | None = None
    trouble: TroubleError | None = None


class RemoteServer:
    """What a key may send, it sends on, and what comes back it gives to the key: as it comes, and nothing else of
    either.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that one alias needs
        self,
        alias: str,
        upstream: RemoteUpstream,
        rules: ToolRules,
        seal: Seal,
        usage: UsageBook,
        holds_key: Callable[[str], bool],
        *,
        network: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self._alias = alias
        self._upstream = upstream
        self._rules = rules
        self._usage = usage
        self._connection = RemoteConnection(
            upstream, network or PublicNetwork(allow_private=upstream.allow_private), ssl_context=ssl_context
        )
        self._headers = RelayedHeaders(alias, seal, holds_key)
        self._holds_key = holds_key
        self._relay = Relay(self._connection, self._headers, rules, call_seconds=upstream.call_seconds)
        self._log = TroubleLog(alias)
        self._open_streams: Counter[str] = Counter()
        self._most_others = max(OTHERS_AT_ONCE, upstream.calls_at_once)
        self._open_others: Counter[str] = Counter()
        """Neither calls nor streams, or not known yet to be."""
        self._listings: dict[str, _Listing] = {}
        """By user id, because what is listed and whether it is may depend on the user."""
        """Why, if the last time it came to nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("POST", "GET", "DELETE"):
            await ONLY_THESE(scope, receive, send)
            return
        answer = RelayedAnswer(scope, receive, send)
        request_id: RequestId | None = None
        try:
            user_id = principal_of(scope).user_id
            # Before its message is here nobody can tell what it is, and many may be begun and never end.
            with self._one_of(self._open_others, user_id, self._most_others):
                message = await posted(scope, receive) if scope["method"] == "POST" else None
                request_id = None if message is None else message.request_id
                asked = self._asked(scope, message)
                await self._check_tool(asked)
            with self._counted(asked):
                await self._unless_gone(asked, answer, receive)
        except ClientGoneError:
            pass
        except TroubleError as error:
            self._log.tell(error)
            await answer.fail(error.trouble, self._alias, request_id)

    @asynccontextmanager
    async def connected(self, *, user_id: str, key_id: str) -> AsyncIterator[Client]:
        """A client of our own, as the server would see it from this user and key.

        Raises:
            Exception: Whatever the SDK makes of a server that does not do as it should.
        """
        fields = {"user_id": user_id, "alias": self._alias, "key_id": key_id}
        async with self._connection.client(fields, seconds=self._upstream.call_seconds) as client:
            yield client

    async def aclose(self) -> None:
        await self._connection.aclose()

    def _asked(self, scope: Scope, message: Message | None) -> Asked:
        if message is not None and self._holds_key(message.text):
            raise TroubleError(Trouble.HOLDS_KEY)
        principal, headers = principal_of(scope), scope["headers"]
        relayed = self._headers.of_request(principal, headers, message)
        return Asked(principal, self._alias, scope["method"], message, relayed, is_modern(headers))

    async def _check_tool(self, asked: Asked) -> None:
        if asked.message is None or asked.message.method != TOOLS_CALL:
            return
        tool = asked.message.tool
        if tool is not None and self._rules.needs_listing(tool):
            await self._list_tools(asked.principal, tool)
        if tool is None or not self._rules.lets_call(asked.principal, tool):
            logger.info(
                "refused: a tool that is not for this key alias=%s key_id=%s user_id=%s",
                self._alias,
                asked.principal.key_id,
                asked.principal.user_id,
            )
            raise TroubleError(Trouble.NO_TOOL)

    async def _list_tools(self, principal: Principal, tool: str) -> None:
        listing = self._listings.setdefault(principal.user_id, _Listing())
        if len(self._listings) > MOST_LISTINGS:
            del self._listings[next(iter(self._listings))]
        async with listing.lock:  # whoever comes meanwhile finds it done
            if not self._rules.needs_listing(tool):
                return
            now = monotonic()
            if listing.began_at is None or now - listing.began_at >= SECONDS_BETWEEN_LISTINGS:
                listing.began_at, listing.trouble = now, None
                connected = self.connected(user_id=principal.user_id, key_id=principal.key_id)
                try:
                    for page in await tool_pages(connected):
                        await shown_tools(self._rules, principal, page)
                except TroubleError as error:
                    listing.trouble = error
            self._check_listing(listing, principal)

    def _check_listing(self, listing: _Listing, principal: Principal) -> None:
        if listing.trouble is not None:
            self._usage.note_error(self._alias, principal.user_id, _told(listing.trouble, self._alias))
            raise TroubleError(listing.trouble.trouble, str(listing.trouble))

    @contextmanager
    def _counted(self, asked: Asked) -> Iterator[None]:
        """Around each: what is open for a user is bounded, streams beside calls, and all else beside both, so that a
        call can be cancelled when there are as many as may be.
        """
        user_id, most = asked.principal.user_id, self._upstream.calls_at_once
        if asked.is_call:
            if self._usage.open_calls(self._alias, user_id) >= most:
                raise TroubleError(Trouble.TOO_MANY_CALLS)
            with self._usage.calling(self._alias, user_id) as call:
                try:
                    yield
                except TroubleError as error:
                    call.failed(_told(error, self._alias))
                    raise
        else:
            those, most = (self._open_streams, most) if asked.is_long else (self._open_others, self._most_others)
            with self._one_of(those, user_id, most):
                yield

    @contextmanager
    def _one_of(self, those: Counter[str], user_id: str, most: int) -> Iterator[None]:
        if those[user_id] >= most:
            raise TroubleError(Trouble.TOO_MANY_CALLS)
        those[user_id] += 1
        try:
            yield
        finally:
            those[user_id] -= 1
            if not those[user_id]:
                del those[user_id]  # those without any are not kept

    async def _unless_gone(self, asked: Asked, answer: RelayedAnswer, receive: Receive) -> None:
        """Pass it on for as long as the client is there.

        Raises:
            TroubleError: There is no answer, or it does not come to its end.
        """
        client = Presence(receive)
        trouble: TroubleError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(client.cancel_when_gone, group.cancel_scope)
            try:
                await self._relay.pass_on(asked, answer)
            except TroubleError as error:
                trouble = error
                if error.trouble is Trouble.SILENT:
                    await self._relay.cancel(asked)
            except anyio.get_cancelled_exc_class():
                if not client.gone:
                    # The key has ended. In the legacy era nobody can tell that from a client that will come back.
                    await self._relay.cancel(asked)
                raise
            group.cancel_scope.cancel()
        if trouble is not None:
            raise trouble


def _told(error: TroubleError, alias: str) -> str:
    """What the operator is told of it: the reason, where there is one that its user is not told."""
    return shown_reason(error) or sentence(error.trouble, alias)
