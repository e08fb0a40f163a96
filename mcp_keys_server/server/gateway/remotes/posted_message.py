"""One JSON-RPC message as a client posts it: parsed at the door, and written anew for whoever is behind it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from mcp.shared.inbound import NAME_BEARING_METHODS
from starlette.types import Receive, Scope

from mcp_keys_server.server.gateway.remotes.relay_trouble import RequestId, Trouble, TroubleError
from mcp_keys_server.server.gateway.tool_rules import called_tool
from mcp_keys_server.upstreams import MEGABYTE

LARGEST_MESSAGE: Final = 4 * MEGABYTE
"""Bytes."""
SECONDS_TO_SEND: Final = 60.0
"""A whole message."""
LONGEST_METHOD: Final = 128
LONGEST_ID: Final = 1024
TOOLS_CALL: Final = "tools/call"
TOOLS_LIST: Final = "tools/list"
_NAMING: Final = frozenset(name.lower() for name in NAME_BEARING_METHODS.values())
_NOTIFICATIONS: Final = "notifications/"
_FIELDS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_UNREADABLE: Final = (ValueError, RecursionError)


class ClientGoneError(Exception):
    """Nobody waits for an answer any more."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request (it has a method and an id), a notification (no id) or a response (no method)."""

    text: str = field(repr=False)
    """The whole of it, in ASCII, with nothing in it that two parsers could read in two ways."""
    method: str | None
    request_id: RequestId | None
    """Of a request that it is; a response has none of its own."""
    params: Mapping[str, str | None] = field(repr=False)
    """Of its parameters, those that name something, in all their spellings; None: by what is no text. The others may
    take 25 times as much memory as the text, for as long as the call is open.
    """

    @property
    def is_request(self) -> bool:
        return self.method is not None and self.request_id is not None

    @property
    def tool(self) -> str | None:
        """The tool that it calls, if it is such a call and names one."""
        return called_tool(self.params) if self.method == TOOLS_CALL else None


async def posted(scope: Scope, receive: Receive, *, seconds: float = SECONDS_TO_SEND) -> Message:
    """
    Raises:
        TroubleError: What comes is no message, too large or too slow.
        ClientGoneError: It was never sent whole.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise TroubleError(Trouble.NOT_JSON_TYPE)
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:16]) > LARGEST_MESSAGE:
        raise TroubleError(Trouble.TOO_LARGE)
    try:
        with anyio.fail_after(seconds):
            return parse_message(await _body(receive))
    except TimeoutError:
        raise TroubleError(Trouble.TOO_SLOW) from None


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        body += event.get("body", b"")
        if len(body) > LARGEST_MESSAGE:
            raise TroubleError(Trouble.TOO_LARGE)
        if not event.get("more_body", False):
            return bytes(body)


def parse_message(body: bytes) -> Message:
    """
    Raises:
        TroubleError: It is not one message.
    """
    try:
        parsed = json.loads(body.decode("utf-8"))
        # Python reads infinity and what is no number, also as what becomes of a number that is too large.
        text = json.dumps(parsed, allow_nan=False, separators=(",", ":"))
    except _UNREADABLE:
        raise TroubleError(Trouble.NOT_JSON) from None
    if not isinstance(parsed, dict) or not _is_a_message(parsed):
        raise TroubleError(Trouble.NOT_A_MESSAGE)
    method = parsed.get("method")
    params = parsed.get("params")
    return Message(
        text,
        method,
        None if method is None else parsed.get("id"),
        _naming(params) if isinstance(params, dict) else {},
    )


def _naming(params: Mapping[str, Any]) -> Mapping[str, str | None]:
    found = {name: params[name] for name in params if name.lower() in _NAMING}
    return {name: value if isinstance(value, str) else None for name, value in found.items()}


def _is_a_message(parsed: Mapping[str, Any]) -> bool:
    # A field of another name may be one of these to a parser that does not tell capital letters from small ones.
    if not parsed.keys() <= _FIELDS or parsed.get("jsonrpc") != "2.0":
        return False
    has_id = "id" in parsed
    if has_id and not _is_an_id(parsed["id"]):
        return False
    if "method" not in parsed:
        return has_id and ("result" in parsed) != ("error" in parsed) and "params" not in parsed
    method = parsed["method"]
    return (
        "result" not in parsed
        and "error" not in parsed
        and isinstance(parsed.get("params", {}), dict | list)
        and isinstance(method, str)
        and _is_a_method(method)
        # So that nothing is called without an id to answer to.
        and (has_id or method.startswith(_NOTIFICATIONS))
    )


def _is_a_method(method: str) -> bool:
    return 0 < len(method) <= LONGEST_METHOD and method.isascii() and method.isprintable() and " " not in method


def _is_an_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_ID and _is_text(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
