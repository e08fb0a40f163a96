"""Reading what a form sends."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_keys_server.core.api_key import contains_api_key

LARGEST_FORM = 16 * 1024
"""Bytes."""
MOST_FIELDS = 64

_FORM_TYPE = "application/x-www-form-urlencoded"


Handler = Callable[[Request], Awaitable[Response]]


def form_route(path: str, show: Handler, take: Handler) -> Route:
    """A page and what its form sends, at one path."""

    async def either(request: Request) -> Response:
        return await (take if request.method == "POST" else show)(request)

    return Route(path, either, methods=["GET", "POST"])


class Form:
    """The fields of a form, as text. What was not sent is empty."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        return self._fields.get(name, [""])[0]

    def kept(self, name: str) -> str:
        """What was typed, to be shown again beside what is wrong with it; nothing of it where a key was pasted."""
        text = self.text(name)
        return "" if contains_api_key(text) else text

    def texts(self, name: str) -> Sequence[str]:
        """All of a field that may be sent several times."""
        return self._fields.get(name, [])


async def read_form(request: Request) -> Form:
    """
    Raises:
        HTTPException: It is no form of ours, or larger than any.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HTTPException(415, "This takes what its own form sends")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_FORM:
                raise HTTPException(413, "That is longer than anything that this form takes")
    except ClientDisconnect:  # who hears no answer shall not fill the log with tracebacks either
        raise HTTPException(400, "This ended before its form did") from None
    try:
        return Form(parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
    except ValueError:  # UnicodeDecodeError is one
        raise HTTPException(400, "This takes what its own form sends") from None
