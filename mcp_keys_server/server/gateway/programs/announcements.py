"""What an upstream of the handshake era says unasked: that a resource has changed, and what it logs."""

import logging
from typing import Final, get_args

from mcp.client.client import Client
from mcp.client.session import IncomingMessage
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import (
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    ResourceUpdatedNotification,
    ServerNotification,
)

from mcp_keys_server.server.gateway.programs.lasting_calls import Message
from mcp_keys_server.server.gateway.programs.likeness import SET_LEVEL, SUBSCRIBE, UNSUBSCRIBE
from mcp_keys_server.server.gateway.programs.open_calls import send
from mcp_keys_server.server.gateway.programs.questions import Context

logger = logging.getLogger(__name__)

MOST_LISTENERS: Final = 100
"""Of one user at one alias; for one more the oldest hears nothing more."""
_LEVELS: Final[tuple[LoggingLevel, ...]] = get_args(LoggingLevel)
_SESSION_ID: Final = "mcp-session-id"


class Announcements:
    """Goes to those sessions of one user that want it. After a restart the upstream is told anew what they want."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[ServerSession, LoggingLevel]] = {}
        """By session id, what of the log it wants."""
        self._watchers: dict[tuple[str, str], ServerSession] = {}
        """By session id and address of the resource."""

    def note(self, context: Context, params: Message) -> None:
        """What a session has asked for, after the upstream agreed."""
        assert context.request is not None  # noqa: S101 - over HTTP there is always one
        session_id = context.request.headers.get(_SESSION_ID, "")
        if context.method == SUBSCRIBE:
            self._watchers[session_id, params["uri"]] = context.session
        elif context.method == UNSUBSCRIBE:
            self._watchers.pop((session_id, params["uri"]), None)
        else:
            self._levels[session_id] = (context.session, params["level"])
        if len(self._levels) > MOST_LISTENERS:
            del self._levels[next(iter(self._levels))]
        if len(self._watchers) > MOST_LISTENERS:
            del self._watchers[next(iter(self._watchers))]

    def agreed(self, method: str, params: Message) -> Message:
        """What the upstream is asked, so that no session takes away from another what that one has asked for."""
        if method != SET_LEVEL:
            return params
        wanted = [level for _, level in self._levels.values()]
        return {**params, "level": min([params["level"], *wanted], key=_LEVELS.index)}

    def is_watched(self, uri: str, *, besides: Context) -> bool:
        assert besides.request is not None  # noqa: S101 - over HTTP there is always one
        own = besides.request.headers.get(_SESSION_ID, "")
        return any(watched == uri and session_id != own for session_id, watched in self._watchers)

    async def on_start(self, client: Client) -> None:
        """Tell an upstream that has just begun what is wanted of it."""
        wanted = [(SUBSCRIBE, {"uri": uri}) for uri in dict.fromkeys(uri for _, uri in self._watchers)]
        if self._levels:
            level = min((level for _, level in self._levels.values()), key=_LEVELS.index)
            wanted.append((SET_LEVEL, {"level": level}))
        for method, params in wanted:
            try:
                await send(client, method, params)
            except MCPError as error:
                logger.info("an upstream does not go on with %s: %s", method, error)

    async def on_log(self, params: LoggingMessageNotificationParams) -> None:
        for session, level in list(self._levels.values()):
            if _LEVELS.index(params.level) >= _LEVELS.index(level):
                await _tell(session, LoggingMessageNotification(params=params))

    async def on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            for (_, uri), session in list(self._watchers.items()):
                if uri == message.params.uri:
                    await _tell(session, message)


async def _tell(session: ServerSession, notification: ServerNotification) -> None:
    try:
        await session.send_notification(notification)
    except Exception:
        logger.debug("a session cannot be told", exc_info=True)
