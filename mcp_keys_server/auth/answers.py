"""What a request gets that is not let in: one answer for each thing that may be known, and no more of them.

Each is a JSON-RPC error without an id, which is what a refusal of the streamable HTTP transport may hold (2026-07-28,
basic/transports, "Sending Messages"), and what the clients show to people.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

HOW_TO_SEND_A_KEY: Final = "Send one as 'Authorization: Bearer YOUR_KEY' or as 'X-API-Key: YOUR_KEY'."
SECONDS_TO_RETRY_AFTER: Final = 5
# JSON-RPC 2.0 section 5.1; the first two are of the range that it leaves to servers.
REFUSED: Final = -32001
TRY_AGAIN: Final = -32000
INVALID_REQUEST: Final = -32600
_CHALLENGE: Final = 'Bearer realm="mcp-keys"'
_NOT_ACCEPTED: Final = (
    "There is no valid API key here: none was sent, or the one sent is mistyped, expired or revoked. "
    + HOW_TO_SEND_A_KEY
)


class _Answer(JSONResponse):
    """One that is sent many times: what middleware adds to its headers is added for that time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        await send({"type": f"{kind}.start", "status": self.status_code, "headers": list(self.raw_headers)})
        await send({"type": f"{kind}.body", "body": self.body})


def refusal(status: int, message: str, *, code: int = REFUSED, **headers: str) -> JSONResponse:
    """The answer with this status and sentence, never kept by any cache."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _Answer(body, status, {"cache-control": "no-store", **named})


# RFC 6750 section 3.1: no error code for a request that carried no credentials.
NO_KEY: Final = refusal(401, _NOT_ACCEPTED, www_authenticate=_CHALLENGE)
BAD_KEY: Final = refusal(
    401,
    _NOT_ACCEPTED,
    www_authenticate=f'{_CHALLENGE}, error="invalid_token", '
    'error_description="The API key is invalid, expired or revoked"',
)
SEVERAL_KEYS: Final = refusal(
    400, f"More than one credential was sent, so none was read. {HOW_TO_SEND_A_KEY}", code=INVALID_REQUEST
)
# No challenge: with one, clients would start an OAuth flow that cannot end.
WRONG_ENDPOINT: Final = refusal(
    403,
    "This API key does not open this endpoint. A key opens /u/USER_ID/ALIAS/mcp with its owner's user id and an alias "
    "that it may use.",
)
NOT_OPENED: Final = refusal(
    403,
    "This API key does not open what is here: it is another user's, or of an alias that the key may not use.",
)
SESSION_NOT_FOUND: Final = refusal(404, "Session not found", code=INVALID_REQUEST)
UNAVAILABLE: Final = refusal(
    503,
    "The key database does not answer at the moment, so no key can be checked. Try again in a few seconds.",
    code=TRY_AGAIN,
    retry_after=str(SECONDS_TO_RETRY_AFTER),
)
STOPPING: Final = refusal(
    503,
    "The server is being stopped, and did not wait to see whether this was done. Try again in a few seconds.",
    code=TRY_AGAIN,
    retry_after=str(SECONDS_TO_RETRY_AFTER),
)
TOO_BUSY: Final = refusal(
    503,
    "Many keys are being checked for the first time. Try again in a few seconds.",
    code=TRY_AGAIN,
    retry_after=str(SECONDS_TO_RETRY_AFTER),
)


def only(methods: Collection[str]) -> JSONResponse:
    """For a request of another method."""
    those = ", ".join(sorted(methods))
    return refusal(405, f"This endpoint answers {those} only.", code=INVALID_REQUEST, allow=those)


def lacks_scopes(alias: str, scopes: Collection[str]) -> JSONResponse:
    """For a good key that opens the endpoint, and which the operator wants to be able to do more. No challenge: as for
    one that does not open it.
    """
    return refusal(403, f"This API key may not use '{alias}': it lacks the scope {', '.join(scopes)}.")


def too_many(seconds: int) -> JSONResponse:
    """For a good key that calls too often."""
    message = f"This API key has made too many calls. Try again in {seconds} seconds."
    return refusal(429, message, code=TRY_AGAIN, retry_after=str(seconds))


@lru_cache(maxsize=100)
def too_many_failures(seconds: int) -> JSONResponse:
    """For an address from which too many came without a good key; one with a good key is let in all the same."""
    message = f"{_NOT_ACCEPTED} Too many such requests came from this address; try again in {seconds} seconds."
    return refusal(429, message, code=TRY_AGAIN, retry_after=str(seconds))
