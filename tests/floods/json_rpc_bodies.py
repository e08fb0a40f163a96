"""Bodies that are, or nearly are, JSON-RPC messages."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final

import httpx2
from starlette.types import ASGIApp

from mcp_keys_server import ApiKey
from tests.server.calls import MODERN

ERAS: Final[Sequence[dict[str, str]]] = (
    {},
    {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "whoami"},
)
META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
METHODS: Final = (
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "notifications/initialized",
    "prompts/get",
    "",
    "x/y",
)
TOOLS: Final = ("whoami", "list_keys", "get_key", "create_key", "revoke_key", "no_such_tool", "", "\x00")
SCALARS: Final = (
    *(None, True, False, 0, -1, 1.5, 1e308, 10**30, -(2**63), 2**64),
    *("", "x", "9", "\x00", "\ud800", "\udfff\ud800", "\u2028", "Ω" * 50, "x" * 70_000, "__proto__", "$ref"),
)
BOM: Final = b"\xef\xbb\xbf"


def message(generator: Random) -> dict[str, Any]:
    """One that is good, as often as not."""
    arguments = {"name": "x", "key_id": "y"} if generator.random() < 0.3 else {}
    params = {"name": generator.choice(TOOLS), "arguments": arguments, "_meta": dict(META)}
    return {"jsonrpc": "2.0", "id": generator.randrange(9), "method": generator.choice(METHODS), "params": params}


def value(generator: Random, depth: int = 3) -> object:
    kind = generator.random()
    if depth and kind < 0.2:
        return [value(generator, depth - 1) for _ in range(generator.randrange(4))]
    if depth and kind < 0.4:
        return {str(generator.choice(SCALARS))[:20]: value(generator, depth - 1) for _ in range(generator.randrange(4))}
    return generator.choice(SCALARS)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def _one_field_of_another_type(generator: Random) -> bytes:
    body = message(generator)
    place = generator.choice((body, body["params"]))
    place[generator.choice(list(place))] = value(generator)
    return encoded(body)


def _one_field_less_or_more(generator: Random) -> bytes:
    body = message(generator)
    if generator.random() < 0.5:
        del body[generator.choice(list(body))]
    else:
        body[generator.choice(("result", "error", "Method", "ID", "extra", "params "))] = value(generator)
    return encoded(body)


def _nested(generator: Random) -> bytes:
    depth = generator.choice((50, 500, 900, 1_100, 20_000, 100_000))
    opened, closed = generator.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opened * depth + b"1" + closed * (depth if generator.random() < 0.7 else 0)
    return (
        inner[:200_000]
        if generator.random() < 0.3
        else encoded(message(generator)).replace(b'"arguments": {}', b'"arguments": ' + inner)
    )


def _number(generator: Random) -> bytes:
    number = generator.choice(
        (
            b"9" * generator.randint(20, 6_000),
            b"1e999",
            b"-0",
            b"NaN",
            b"-Infinity",
            b"01",
            b"1.",
            b".5",
            b"1_0",
            b"0x1",
        )
    )
    return (
        generator.choice(
            (
                b'{"jsonrpc": "2.0", "id": %s, "method": "ping"}',
                b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": %s}}',
            )
        )
        % number
    )


def _twice(generator: Random) -> bytes:
    body = encoded(message(generator))
    return body[:-1] + b', "%s": %s}' % (
        generator.choice((b"id", b"method", b"jsonrpc", b"params")),
        encoded(value(generator)),
    )


def _another_encoding(generator: Random) -> bytes:
    text = json.dumps(message(generator))
    return generator.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            BOM + text.encode(),
            text.encode("utf-7"),
            text.replace("x", "\xff").encode("latin-1"),
        )
    )


def _damaged(generator: Random) -> bytes:
    body = bytearray(encoded(message(generator)))
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(body))
        body[at : at + generator.randint(0, 3)] = generator.randbytes(generator.randint(0, 3))
    return bytes(body)


def _cut(generator: Random) -> bytes:
    body = encoded(message(generator))
    return body[: generator.randrange(len(body))]


def _batch(generator: Random) -> bytes:
    return encoded([message(generator) for _ in range(generator.choice((0, 1, 2, 50)))])


def _an_odd_id(generator: Random) -> bytes:
    return encoded(message(generator) | {"id": value(generator)})


def _surrogates(generator: Random) -> bytes:
    escape = generator.choice((b"\\ud800", b"\\udfff", b"\\ud800\\u0041", b"\\u0000", b"\xed\xa0\x80"))
    return encoded(message(generator)).replace(generator.choice((b"whoami", b"tools", b"2.0", b"name")), escape)


def _anything(generator: Random) -> bytes:
    return generator.choice((generator.randbytes(generator.randrange(300)), encoded(value(generator)), b""))


KINDS: Final[Sequence[Callable[[Random], bytes]]] = (
    *(lambda generator: encoded(message(generator)), _one_field_of_another_type, _one_field_less_or_more, _nested),
    *(_number, _twice, _another_encoding, _damaged, _cut, _batch, _an_odd_id, _surrogates, _anything),
)


def bodies(number: int, *, seed: int = 0) -> Iterator[bytes]:
    """So many of all kinds, the same for the same seed."""
    generator = Random(seed)  # noqa: S311 - it is to be repeated
    for each in range(number):
        yield KINDS[each % len(KINDS)](generator)


async def post_all(app: ASGIApp, key: ApiKey, sent: Iterable[bytes], era: dict[str, str]) -> Counter[int]:
    """How many answers of each status they got."""
    headers = {
        "x-api-key": key.reveal(),
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    counted: Counter[int] = Counter()
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000", headers=headers | era) as http:
        for body in sent:
            answer = await http.post("/u/ada/keys/mcp", content=body)
            assert key.reveal() not in answer.text
            counted[answer.status_code] += 1
    return counted
