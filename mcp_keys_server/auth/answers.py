"""What a request gets that is not let in: one answer for each thing that may be known, and no more of them."""

from typing import Final

from starlette.responses import JSONResponse

HOW_TO_SEND_A_KEY: Final = "Send one as 'Authorization: Bearer YOUR_KEY' or as 'X-API-Key: YOUR_KEY'."
SECONDS_TO_RETRY_AFTER: Final = 5
_CHALLENGE: Final = 'Bearer realm="mcp-keys"'
_NOT_ACCEPTED: Final = {
    "error": "invalid_token",
    "error_description": "This needs an API key that is valid here: the one sent is mistyped, expired or revoked, "
    f"or none was sent. {HOW_TO_SEND_A_KEY}",
}


def answer(status: int, error: str, description: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in the form that OAuth clients know (RFC 6749 section 5.2), never kept by any cache."""
    body = {"error": error, "error_description": description}
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})


# RFC 6750 section 3.1: no error code for a request that carried no credentials.
NO_KEY: Final = JSONResponse(_NOT_ACCEPTED, 401, {"cache-control": "no-store", "www-authenticate": _CHALLENGE})
BAD_KEY: Final = JSONResponse(
    _NOT_ACCEPTED,
    401,
    {
        "cache-control": "no-store",
        "www-authenticate": f'{_CHALLENGE}, error="invalid_token", '
        'error_description="The API key is invalid, expired or revoked"',
    },
)
SEVERAL_KEYS: Final = answer(
    400, "invalid_request", f"More than one credential was sent, so none was read. {HOW_TO_SEND_A_KEY}"
)
# No challenge: with one, clients would start an OAuth flow that cannot end.
WRONG_ENDPOINT: Final = answer(
    403,
    "access_denied",
    "This API key does not open this endpoint. A key opens /u/USER_ID/ALIAS/mcp with its owner's user id and an alias "
    "that it may use.",
)
UNAVAILABLE: Final = answer(
    503,
    "temporarily_unavailable",
    "The key database does not answer at the moment, so no key can be checked. Try again in a few seconds.",
    {"retry-after": str(SECONDS_TO_RETRY_AFTER)},
)
