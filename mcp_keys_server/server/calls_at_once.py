"""How many calls one user has open at a time, where each may wait for a person and holds what was sent."""

import logging
from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.auth.answers import TRY_AGAIN, refusal
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.auth.line_budget import RefusalLog

logger = logging.getLogger(__name__)

MOST_CALLS: Final = 100
"""Of one user; a client makes a few at once."""
_TOO_MANY: Final = refusal(
    429,
    f"You have {MOST_CALLS} calls open, which is as many as there may be at once.",
    code=TRY_AGAIN,
    retry_after="1",
)


class CallsAtOnce:
    """Bounds them for all keys of a user together, because a user has as many keys as they like."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: Counter[str] = Counter()
        self._log = RefusalLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = principal_of(scope)
        user_id = principal.user_id
        if self._open[user_id] >= MOST_CALLS:
            self._log.refused("too many calls at once", principal)
            await _TOO_MANY(scope, receive, send)
            return
        self._open[user_id] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]  # those without any are not kept
