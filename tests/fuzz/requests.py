"""Parsers of what comes in requests, from clients, browsers, reverse proxies and upstreams."""

import json
from collections.abc import Callable, Coroutine
from ipaddress import ip_address, ip_network
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.credential import NoCredentialError, SeveralCredentialsError, presented_key
from mcp_keys_server.auth.entrance import Entrance
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server import tool_arguments
from mcp_keys_server.server.gateway.programs.child_output import Lines, LineTooLongError, shown
from mcp_keys_server.server.gateway.remotes.event_stream import EventReader, EventTooLargeError, IdSealer
from mcp_keys_server.server.gateway.remotes.posted_message import Message, parse_message
from mcp_keys_server.server.gateway.remotes.public_network import is_public
from mcp_keys_server.server.gateway.remotes.relay_trouble import TroubleError
from mcp_keys_server.server.gateway.remotes.relayed_headers import RelayedHeaders
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.pages.forms import read_form
from mcp_keys_server.server.trusted_proxies import TrustedProxies, user_named_by_proxy
from tests.fuzz.keys import A_KEY, MINT
from tests.fuzz.parser import Parser, as_text, of_text

ADA = Principal("ada", "key_0123456789abcdef", Grant(frozenset(), None, None))
SEAL = Seal(ChecksumSecrets([b"a secret that all processes share"]))
HOSTS = HostPolicy("http://localhost:8000", ("localhost", "localhost:*"), ())
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read", "arguments": {"a": [1.5, None]}}}
MODERN = b"mcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name: read"


def _headers(given: bytes) -> list[tuple[bytes, bytes]]:
    """A header a line, as a server hands them on: with names in small letters and nothing around values."""
    lines = (line.partition(b":") for line in given.split(b"\n"))
    return [(name.strip().lower(), value.strip()) for name, _, value in lines]


def _credential(given: bytes) -> None:
    assert presented_key(_headers(given)) != ""


def _entrance(path: str) -> None:
    opened = Entrance(path="/u/{user_id}/{alias}/mcp").opened_alias(path, ADA)
    assert opened is None or path == f"/u/ada/{opened}/mcp"


def _message(given: bytes) -> None:
    message = parse_message(given)
    assert message.text.isascii()
    assert parse_message(message.text.encode()) == message


def _relayed(given: bytes) -> None:
    message = Message(json.dumps(CALL), "tools/call", 1, {"name": "read"})
    headers = RelayedHeaders("notes", SEAL, MINT.occurs_in)
    for asked in (message, None):
        relayed = headers.of_request(ADA, _headers(given), asked)
        assert not any(name in (b"authorization", b"cookie", b"x-api-key", b"host") for name, _ in relayed)
        assert not any(MINT.occurs_in(value.decode("latin-1")) for _, value in relayed)


def _answered(given: bytes) -> None:
    headers = RelayedHeaders("notes", SEAL, MINT.occurs_in)
    answered = headers.of_answer(ADA, _headers(given))
    assert not any(name in (b"set-cookie", b"location", b"www-authenticate") for name, _ in answered)


def _sealed(text: str) -> None:
    assert SEAL.open(SEAL.seal(text, "ada", "notes"), "ada", "notes") == text
    assert SEAL.open(text, "ada", "notes") is None, "a forgery"


def _events(given: bytes) -> None:
    whole = list(EventReader(10_000).read(given))
    reader = EventReader(10_000)
    assert [event for place in range(len(given)) for event in reader.read(given[place : place + 1])] == whole
    for event in whole:
        assert event.data is not None or event.fields


def _sealed_ids(given: bytes) -> None:
    def seal(value: bytes) -> bytes:
        return b"<" + value + b">"

    whole, sealer = IdSealer(seal).read(given), IdSealer(seal)
    assert b"".join(sealer.read(given[place : place + 1]) for place in range(len(given))) == whole


def _shown(given: bytes) -> None:
    for line in Lines(10_000).ended_by(given):
        text = shown(line, 1_000)
        assert text.isprintable()
        assert A_KEY not in text


def _at_once(work: Coroutine[Any, Any, object]) -> object:
    """What comes of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def _form(given: bytes) -> None:
    left = [given[:7], given[7:]]

    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "headers": headers}
    form = _at_once(read_form(Request(scope, receive)))
    assert form is not None


def _is_a_proxy(client: str) -> bool:
    try:
        address = ip_address(client)
    except ValueError:
        return False
    return address == ip_address("::1") or address in ip_network("10.0.0.0/8")


def _behind_a_proxy(given: bytes) -> None:
    """The client's address, then headers."""
    client, _, headers = given.partition(b"\n")
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        seen.append(scope)

    async def nothing(*_: object) -> Any:  # noqa: ANN401 - as ASGI has it
        raise AssertionError

    proxies = TrustedProxies(app, ["10.0.0.0/8", "::1"], "x-user")
    scope = {"type": "http", "scheme": "http", "client": (as_text(client), 1), "headers": _headers(headers)}
    _at_once(proxies(scope, nothing, nothing))
    if not _is_a_proxy(as_text(client)):
        assert seen[0]["client"] == (as_text(client), 1), "a client says where it is"
        assert user_named_by_proxy(seen[0]) is None, "a client says who it is"


def _arguments(kind: type[tool_arguments.Arguments]) -> Callable[[bytes], None]:
    def take(given: bytes) -> None:
        taken = kind.model_validate_json(given)
        assert kind.model_validate_json(taken.model_dump_json()) == taken

    return take


def _host(text: str) -> None:
    assert not HOSTS.answers(text) or text.startswith("localhost")


def _address(text: str) -> None:
    is_public(text)


def _events_of(*lines: bytes) -> bytes:
    return b"\n".join((*lines, b"", b""))


HEADERS = (NoCredentialError, SeveralCredentialsError)
PARSERS = (
    Parser("credential", _credential, HEADERS, (f"authorization: Bearer {A_KEY}".encode(), b"x-api-key: a\ncookie: b")),
    of_text("entrance", _entrance, (), "/u/ada/notes/mcp", "/u/bob/notes/mcp", "/u/ada/%6eotes/mcp"),
    Parser(
        "message", _message, (TroubleError,), (json.dumps(CALL).encode(), b'{"jsonrpc": "2.0", "id": "x", "error": {}}')
    ),
    Parser(
        "relayed_headers",
        _relayed,
        (TroubleError,),
        (
            MODERN,
            MODERN + b"\nmcp-param-a: =?base64?YQ==?=",
            MODERN.replace(b"read", b"=?base64?\xe9?="),
            f"mcp-session-id: {SEAL.seal('s', 'ada', ADA.key_id, 'notes')}".encode(),
            b"last-event-id: x",
        ),
    ),
    Parser(
        "answered_headers", _answered, (TroubleError,), (b"mcp-session-id: abc\nset-cookie: a=b", b"content-type: a/b")
    ),
    of_text("seal", _sealed, (), "abc", "AAAA.abc"),
    Parser(
        "events",
        _events,
        (EventTooLargeError,),
        (_events_of(b"id: 1", b"data: a", b"data: b"), b"\xef\xbb\xbf:\r\rdata\r\n\r\n"),
    ),
    Parser("event_ids", _sealed_ids, (EventTooLargeError,), (_events_of(b"id: 1", b"data: id: 2"), b"id:\r\nid:x\n")),
    Parser("lines_of_programs", _shown, (LineTooLongError,), (f"\x1b[2J {A_KEY}\n".encode(), b"a\nb\n")),
    Parser("form", _form, (HTTPException,), (b"name=Laptop&scopes=keys%3Aread", b"a=%FF&a", "ü=1".encode())),
    Parser(
        "proxy",
        _behind_a_proxy,
        (),
        (b"10.0.0.1\nx-forwarded-for: 1.2.3.4\nx-user: ada", b"1.2.3.4\nx-user: ada", b"fe80::1%0\n"),
    ),
    Parser(
        "create_key",
        _arguments(tool_arguments.CreateKeyArguments),
        (ValidationError,),
        (b'{"name": "x", "scopes": null}',),
    ),
    Parser(
        "update_key",
        _arguments(tool_arguments.UpdateKeyArguments),
        (ValidationError,),
        (b'{"key_id": "x", "tools": []}',),
    ),
    of_text("host", _host, (), "localhost:80", "localhost:\u0661", "evil.example"),
    of_text("address", _address, (ValueError,), "127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "8.8.8.8"),
)
