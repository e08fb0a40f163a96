"""The sessions of the handshake era that one user has at one alias."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Message, Receive, Scope, Send

LARGEST_BODY: Final = 4 * 1024 * 1024
"""Bytes of one message."""
MOST_SESSIONS: Final = 16
SECONDS_OF_AN_IDLE_SESSION: Final = 8 * 60 * 60
"""As long as a laptop sleeps: a client whose session is gone has to begin anew, and not all do."""
_SESSION_ID: Final = b"mcp-session-id"


class UserSessions:
    """In the handshake era a session is what makes it possible to ask a client something and to cancel a call. Each
    user has their own, so that nobody can use up anybody else's; for one too many the oldest is ended.
    """

    def __init__(self, server: Server[Any], security: TransportSecuritySettings) -> None:
        self._manager = StreamableHTTPSessionManager(
            server,
            security_settings=security,
            session_idle_timeout=SECONDS_OF_AN_IDLE_SESSION,
            max_request_body_size=LARGEST_BODY,
            max_sessions=2 * MOST_SESSIONS,
        )
        self._scopes: dict[str, Scope] = {}
        """By session id, how each was begun; whoever was used last is last."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        used = headers.get(_SESSION_ID, b"").decode("latin-1")
        if used in self._scopes:
            self._scopes[used] = self._scopes.pop(used)

        async def note_session(message: Message) -> None:
            if message["type"] == "http.response.start" and not used:
                begun = dict(message["headers"]).get(_SESSION_ID)
                if begun is not None:
                    self._scopes[begun.decode("latin-1")] = _of_the_same(scope)
                    await self._end_the_oldest()
            await send(message)

        await self._manager.asgi_app(scope, receive, note_session)

    async def _end_the_oldest(self) -> None:
        """As whoever began it would: so that the SDK forgets it by its own rules."""
        while len(self._scopes) > MOST_SESSIONS:
            session_id = next(iter(self._scopes))
            begun = self._scopes.pop(session_id)
            headers = [*begun["headers"], (_SESSION_ID, session_id.encode("latin-1"))]
            await self._manager.asgi_app({**begun, "method": "DELETE", "headers": headers}, _no_body, _to_nobody)


def _of_the_same(scope: Scope) -> Scope:
    """Of whoever sent this, without the key that came with it, which is kept nowhere."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name in (b"host", b"origin")]}


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _to_nobody(_: Message) -> None:
    pass
