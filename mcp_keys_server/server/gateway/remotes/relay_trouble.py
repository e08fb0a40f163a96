"""What may come between a client and a server somewhere else, and what each of the three is told: the client in an
answer, the operator in the log, the server nothing.
"""

import logging
from collections.abc import Callable, Mapping
from enum import Enum, auto
from time import monotonic
from typing import Final

from mcp_types.jsonrpc import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, PARSE_ERROR
from starlette.responses import JSONResponse

from mcp_keys_server.auth.answers import INVALID_REQUEST, REFUSED, SECONDS_TO_RETRY_AFTER, TRY_AGAIN
from mcp_keys_server.core.api_key import redact

logger = logging.getLogger(__name__)

RequestId = str | int

SECONDS_BETWEEN_WARNINGS: Final = 60.0
"""About one and the same trouble."""
LONGEST_REASON: Final = 300
"""Characters; part of it is what a stranger wrote."""


class Trouble(Enum):
    """Everything that is not relayed."""

    NOT_JSON_TYPE = auto()
    TOO_SLOW = auto()
    TOO_LARGE = auto()
    NOT_JSON = auto()
    NOT_A_MESSAGE = auto()
    HEADERS = auto()
    HEADER_MISMATCH = auto()
    HOLDS_KEY = auto()
    NO_SESSION = auto()
    NO_EVENT = auto()
    NO_TOOL = auto()
    TOO_MANY_CALLS = auto()
    STORE = auto()
    CREDENTIALS = auto()
    UNREACHABLE = auto()
    GARBAGE = auto()
    BROKEN = auto()
    SILENT = auto()


class TroubleError(Exception):
    """Something is not relayed. Its message, if it has one, is for the operator."""

    def __init__(self, trouble: Trouble, reason: str = "") -> None:
        super().__init__(reason)
        self.trouble = trouble


# A call that is not let through is a call all the same, which has an answer: clients show its error to the model, and
# take another status for a broken connection.
_OF_A_CALL: Final = 200
_SAID: Final[Mapping[Trouble, tuple[int, int, str]]] = {
    Trouble.NOT_JSON_TYPE: (415, INVALID_REQUEST, "The content type of a message is application/json."),
    Trouble.TOO_SLOW: (408, INVALID_REQUEST, "The message did not come in time. Send it again."),
    Trouble.TOO_LARGE: (413, INVALID_REQUEST, "The message is too large: it may have 4 MiB."),
    Trouble.NOT_JSON: (400, PARSE_ERROR, "The body is not one JSON object, in UTF-8, of numbers that JSON has."),
    Trouble.NOT_A_MESSAGE: (
        400,
        INVALID_REQUEST,
        "The body is not one JSON-RPC 2.0 message: a request with an id, a notification or a response.",
    ),
    Trouble.HEADERS: (400, INVALID_REQUEST, "A header of MCP was sent twice, or is not readable."),
    Trouble.HEADER_MISMATCH: (
        400,
        HEADER_MISMATCH,
        "The headers Mcp-Method and Mcp-Name do not say the same as the message.",
    ),
    Trouble.HOLDS_KEY: (
        _OF_A_CALL,
        INVALID_PARAMS,
        "this holds an API key of this server, which belongs in no message; if it was shown to anybody, revoke it",
    ),
    Trouble.NO_SESSION: (404, REFUSED, "Session not found"),
    Trouble.NO_EVENT: (400, INVALID_REQUEST, "There is no event with this Last-Event-ID here."),
    Trouble.NO_TOOL: (
        _OF_A_CALL,
        INVALID_PARAMS,
        "There is no tool of this name here, or this key may not use it",
    ),
    Trouble.TOO_MANY_CALLS: (
        429,
        TRY_AGAIN,
        "This user has too many requests to '{alias}' open at once. Try again when one of them has ended.",
    ),
    Trouble.STORE: (503, TRY_AGAIN, "The key database does not answer at the moment. Try again in a few seconds."),
    Trouble.CREDENTIALS: (
        502,
        INTERNAL_ERROR,
        "the server behind '{alias}' refused the credentials of this gateway; tell its operator",
    ),
    Trouble.UNREACHABLE: (502, INTERNAL_ERROR, "the server behind '{alias}' cannot be reached; try again later"),
    Trouble.GARBAGE: (
        502,
        INTERNAL_ERROR,
        "the server behind '{alias}' gave an answer that cannot be passed on; tell its operator",
    ),
    Trouble.BROKEN: (502, INTERNAL_ERROR, "the server behind '{alias}' broke off its answer; try again"),
    Trouble.SILENT: (
        504,
        INTERNAL_ERROR,
        "the server behind '{alias}' gave no sign of life for too long, so the call was given up",
    ),
}
_RETRIED_SOON: Final = frozenset({Trouble.TOO_MANY_CALLS, Trouble.STORE})


def sentence(trouble: Trouble, alias: str) -> str:
    return _SAID[trouble][2].replace("{alias}", alias)


def error_object(code: int, message: str, request_id: RequestId | None) -> Mapping[str, object]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def error_of(trouble: Trouble, alias: str, request_id: RequestId | None) -> Mapping[str, object]:
    """The JSON-RPC error that a request ends with."""
    return error_object(_SAID[trouble][1], sentence(trouble, alias), request_id)


def answer(trouble: Trouble, alias: str, request_id: RequestId | None) -> JSONResponse:
    """The whole answer, as long as none has begun."""
    status = _SAID[trouble][0]
    if status == _OF_A_CALL and request_id is None:
        status = 400
    headers = {"cache-control": "no-store"}
    if trouble in _RETRIED_SOON:
        headers["retry-after"] = str(SECONDS_TO_RETRY_AFTER)
    return JSONResponse(error_of(trouble, alias, request_id), status, headers)


def unexplained(status: int, alias: str, request_id: RequestId | None) -> JSONResponse:
    """The answer in place of one that has this status and nothing in it for a client."""
    message = f"the server behind '{alias}' answered with HTTP {status} and did not say why"
    return JSONResponse(error_object(INVALID_REQUEST, message, request_id), status, {"cache-control": "no-store"})


def shown_reason(error: TroubleError) -> str:
    """As ASCII, in which nothing that a stranger sent can begin a line of its own; empty if there is none."""
    return ascii(redact(str(error)[:LONGEST_REASON]))[1:-1]


class TroubleLog:
    """Tells the operator of trouble with one upstream that has a reason, but of the same one only once in a while."""

    def __init__(self, alias: str, *, now: Callable[[], float] = monotonic) -> None:
        self._alias = alias
        self._now = now
        self._told_at: dict[Trouble, float] = {}
        self._left_out: dict[Trouble, int] = {}

    def tell(self, error: TroubleError) -> None:
        if not str(error):
            return
        now = self._now()
        told_at = self._told_at.get(error.trouble)
        if told_at is not None and now - told_at < SECONDS_BETWEEN_WARNINGS:
            self._left_out[error.trouble] = self._left_out.get(error.trouble, 0) + 1
            return
        self._told_at[error.trouble] = now
        left_out = self._left_out.pop(error.trouble, 0)
        more = f" ({left_out} more times since this was told last)" if left_out else ""
        # As ASCII, in which nothing that a stranger sent can begin a line of its own.
        reason = ascii(redact(str(error))[:LONGEST_REASON])[1:-1]
        logger.warning("upstream %s: %s%s", self._alias, reason, more)
