"""Which headers go to a server somewhere else and which come back: those of the protocol, by name, and no others.

So no key, cookie, origin or address of a client reaches it, and none of its challenges, cookies or permissions reach a
client. Whatever of it stands for somebody's state is tied to the key that it was given to: all users share the
credentials that the server knows, so it cannot tell them apart itself.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import unquote

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    decode_header_value,
    encode_header_value,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.remotes.posted_message import Message
from mcp_keys_server.server.gateway.remotes.relay_trouble import Trouble, TroubleError
from mcp_keys_server.server.gateway.seal import Seal

Headers = Sequence[tuple[bytes, bytes]]
"""Their names in small letters."""

SESSION: Final = b"mcp-session-id"
EVENT: Final = b"last-event-id"
LONGEST_SESSION_ID: Final = 1024
_PARAM: Final = b"mcp-param-"
_ONCE: Final = frozenset({b"content-type", b"mcp-protocol-version", SESSION, EVENT, b"mcp-method", b"mcp-name"})
_AS_THEY_ARE: Final = frozenset(
    {b"accept", b"mcp-protocol-version", b"traceparent", b"tracestate", b"baggage"},
)
_BACK_AS_THEY_ARE: Final = frozenset(
    {b"content-type", b"cache-control", b"x-accel-buffering", b"allow", b"retry-after"}
)
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]+")


def is_modern(headers: Headers) -> bool:
    """Whether they are of the protocol without sessions; the SDK tells it by the same rule."""
    version = next((value for name, value in headers if name == MCP_PROTOCOL_VERSION_HEADER.encode()), None)
    return version is not None and version.decode("latin-1") not in HANDSHAKE_PROTOCOL_VERSIONS


class RelayedHeaders:
    """Those of one alias."""

    def __init__(self, alias: str, seal: Seal, holds_key: Callable[[str], bool]) -> None:
        self._alias = alias
        self._seal = seal
        self._holds_key = holds_key

    def of_request(self, principal: Principal, headers: Headers, message: Message | None) -> Headers:
        """What the server gets of a client's headers, with the message's own if there is one.

        Raises:
            TroubleError: They contradict each other or the message, hold a key, or name what is not this key's.
        """
        relayed = [(name, value) for name, value in headers if name in _ONCE | _AS_THEY_ARE or name.startswith(_PARAM)]
        single = [name for name, _ in relayed if name in _ONCE or name.startswith(_PARAM)]
        if len(set(single)) < len(single):
            raise TroubleError(Trouble.HEADERS)
        if any(self._holds_key(text) for _, value in relayed for text in _readings(value)):
            raise TroubleError(Trouble.HOLDS_KEY)
        sent = [(name, value) for name, value in relayed if name in _AS_THEY_ARE]
        for name, value in relayed:
            if name == SESSION:
                sent.append((name, self._opened(value, Trouble.NO_SESSION, self._session_bound(principal))))
            elif name == EVENT:
                sent.append((name, self._opened(value, Trouble.NO_EVENT, self._event_bound(principal))))
        if message is not None:
            sent.append((b"content-type", b"application/json"))
            if is_modern(relayed):
                sent += [(name, value) for name, value in relayed if name.startswith(_PARAM)]
                sent += _of_message(message, relayed)
        return sent

    def of_answer(self, principal: Principal, headers: Headers) -> Headers:
        """What a client gets of the server's.

        Raises:
            TroubleError: There is a session id that no client could send back.
        """
        sent = {name: value for name, value in reversed(headers) if name in _BACK_AS_THEY_ARE}
        sessions = [value for name, value in headers if name == SESSION]
        if sessions:
            if len(sessions) > 1 or len(sessions[0]) > LONGEST_SESSION_ID or not _VISIBLE.fullmatch(sessions[0]):
                raise TroubleError(Trouble.GARBAGE, "it gave a session id that is no session id")
            sent[SESSION] = self._sealed(sessions[0], self._session_bound(principal))
        return list(sent.items())

    def event_id(self, principal: Principal, value: bytes) -> bytes:
        """The id of an event, as the client gets to know it."""
        return self._sealed(value, self._event_bound(principal))

    def _session_bound(self, principal: Principal) -> tuple[str, ...]:
        return principal.user_id, principal.key_id, self._alias

    def _event_bound(self, principal: Principal) -> tuple[str, ...]:
        return *self._session_bound(principal), "event"

    def _sealed(self, value: bytes, bound_to: Iterable[str]) -> bytes:
        return self._seal.seal(value.decode("latin-1"), *bound_to).encode("latin-1")

    def _opened(self, value: bytes, trouble: Trouble, bound_to: Iterable[str]) -> bytes:
        opened = self._seal.open(value.decode("latin-1"), *bound_to)
        if opened is None:
            raise TroubleError(trouble)
        return opened.encode("latin-1")


def _readings(value: bytes) -> Iterable[str]:
    """What others may read in it: as it stands, out of the wrapping of MCP, out of that of addresses."""
    text = value.decode("latin-1")
    return text, _decoded(value) or "", unquote(text)


def _of_message(message: Message, headers: Headers) -> Headers:
    """``Mcp-Method`` and ``Mcp-Name`` as the message has it, as far as the client has sent them: the server is to judge
    itself of those that are missing.

    Raises:
        TroubleError: The client made something else of them.
    """
    if message.method is None:
        return []
    made = {MCP_METHOD_HEADER.encode(): message.method.encode("ascii")}
    name = message.params.get(NAME_BEARING_METHODS.get(message.method, ""))
    if isinstance(name, str):
        try:
            made[MCP_NAME_HEADER.encode()] = encode_header_value(name).encode("ascii")
        except UnicodeEncodeError:
            raise TroubleError(Trouble.HEADER_MISMATCH) from None
    sent = {name: value for name, value in headers if name in made}
    if any(_decoded(value) != _decoded(made[name]) for name, value in sent.items()):
        raise TroubleError(Trouble.HEADER_MISMATCH)
    return [(name, made[name]) for name in sent]


def _decoded(value: bytes) -> str | None:
    try:
        return decode_header_value(value.decode("latin-1"))
    except (
        ValueError
    ):  # of letters in the wrapping that are no ASCII; the SDK itself looks for those that are no base64
        return None
