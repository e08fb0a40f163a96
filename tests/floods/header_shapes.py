"""Requests whose heads are odd in one way or another, written byte by byte."""

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from mcp_keys_server import ApiKey

BODY: Final = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}'
LETTERS: Final = string.ascii_letters + string.digits + "_-"
CONTROLS: Final = [code for code in range(32) if code not in b"\t\r\n"] + [127]


@dataclass(frozen=True)
class Shape:
    opens: bool
    """Whether the request is to be let in."""
    head: Callable[[Random, bytes], list[bytes]]
    """The lines of it for a good key, each with its end, beside those that every request has."""
    sized: bool = True
    """Whether it has a plain content-length."""


def requests(shape: Shape, key: ApiKey, number: int, *, path: bytes, seed: int = 0) -> Iterator[bytes]:
    """So many of this shape, the same for the same seed."""
    generator = Random(seed)  # noqa: S311 - it is to be repeated
    for _ in range(number):
        lines = [b"host: localhost\r\n", b"connection: close\r\n", b"content-type: application/json\r\n"]
        lines += [b"accept: application/json, text/event-stream\r\n"]
        if shape.sized:
            lines.append(b"content-length: %d\r\n" % len(BODY))
        lines += shape.head(generator, key.reveal().encode())
        yield b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path, b"".join(lines), BODY)


def bearer(value: bytes, name: bytes = b"authorization") -> bytes:
    return b"%s: Bearer %s\r\n" % (name, value)


def named(value: bytes, name: bytes = b"x-api-key") -> bytes:
    return b"%s: %s\r\n" % (name, value)


def text(generator: Random, longest: int = 80) -> bytes:
    """Of the letters of keys."""
    return "".join(generator.choices(LETTERS, k=generator.randint(1, longest))).encode()


def either(generator: Random, value: bytes) -> bytes:
    return generator.choice((bearer, named))(value)


def any_case(generator: Random, word: bytes) -> bytes:
    return "".join(generator.choice((letter.lower(), letter.upper())) for letter in word.decode()).encode()


def with_bytes(generator: Random, key: bytes, codes: list[int]) -> bytes:
    at = generator.randint(0, len(key))
    return key[:at] + bytes(generator.choices(codes, k=generator.randint(1, 5))) + key[at:]


def mutated(generator: Random, key: bytes) -> bytes:
    at = generator.randrange(len(key))
    other = generator.choice([letter for letter in LETTERS.encode() if letter != key[at]])
    changed = key[:at] + bytes([other]) + key[at + 1 :]
    return generator.choice((changed, key[:at], key + text(generator), key[at:] + key[:at] if at else key[1:]))


def shuffled(generator: Random, *lines: bytes) -> list[bytes]:
    return generator.sample(lines, len(lines))


def _lengths(generator: Random) -> list[bytes]:
    first, second = generator.sample(range(1000), 2)
    return [b"content-length: %d\r\n" % first, b"content-length: %d\r\n" % second]


ODD_LENGTHS: Final = (b"-1", b"+5", b"0x10", b"5,6", b"1e3", b"9" * 40, b"", b"5 5", b"\xb2", b"five")
ODD_CODINGS: Final = (
    b"xchunked",
    b"chunked, identity",
    b"identity",
    b"gzip",
    b"chunked\x0b",
    b'"chunked"',
    b", chunked,",
)
ODD_NAMES: Final = (b"x_api_key", b"x-api-keys", b"x.api.key", b"x-api-key-", b"proxy-authorization", b"authorizatio")

SHAPES: Final[dict[str, Shape]] = {
    "a good key": Shape(opens=True, head=lambda g, key: [either(g, key)]),
    "any case of the name": Shape(
        opens=True, head=lambda g, key: [bearer(key, any_case(g, b"authorization")), b"cookie: a=b\r\n"]
    ),
    "any case of the other name": Shape(opens=True, head=lambda g, key: [named(key, any_case(g, b"x-api-key"))]),
    "any case of the scheme": Shape(
        opens=True, head=lambda g, key: [b"authorization: %s %s\r\n" % (any_case(g, b"bearer"), key)]
    ),
    "spaces around": Shape(
        opens=True, head=lambda g, key: [named(b" " * g.randint(0, 200) + key + b" " * g.randint(0, 200))]
    ),
    "an empty one beside": Shape(opens=True, head=lambda g, key: shuffled(g, named(b""), bearer(key))),
    "none": Shape(opens=False, head=lambda g, _: [named(text(g), b"x-" + text(g, 20))]),
    "letters": Shape(opens=False, head=lambda g, _: [either(g, text(g, 300))]),
    "nearly the key": Shape(opens=False, head=lambda g, key: [either(g, mutated(g, key))]),
    "the key twice": Shape(opens=False, head=lambda g, key: [either(g, key), either(g, key)]),
    "the key and another": Shape(opens=False, head=lambda g, key: shuffled(g, either(g, key), either(g, text(g)))),
    "the key and another scheme": Shape(
        opens=False, head=lambda g, key: shuffled(g, named(key), b"authorization: Basic %s\r\n" % text(g))
    ),
    "a list": Shape(opens=False, head=lambda g, key: [either(g, b", ".join([key] * g.randint(2, 9)))]),
    "a list of schemes": Shape(
        opens=False, head=lambda g, key: [bearer(key + b", Bearer " + g.choice((key, text(g))))]
    ),
    "a tab after the scheme": Shape(
        opens=False, head=lambda g, key: [b"authorization: Bearer%s%s\r\n" % (b"\t" * g.randint(1, 9), key)]
    ),
    "NUL": Shape(opens=False, head=lambda g, key: [either(g, with_bytes(g, key, [0]))]),
    "control characters": Shape(opens=False, head=lambda g, key: [either(g, with_bytes(g, key, CONTROLS))]),
    "beyond ASCII": Shape(opens=False, head=lambda g, key: [either(g, with_bytes(g, key, list(range(0xA1, 256))))]),
    "a bare CR": Shape(opens=False, head=lambda g, key: [either(g, with_bytes(g, key, [13]))]),
    "a name and a space": Shape(
        opens=False, head=lambda g, key: [b"x-api-key%s: %s\r\n" % (b" " * g.randint(1, 9), key)]
    ),
    "no name": Shape(opens=False, head=lambda g, key: [b": %s\r\n" % g.choice((key, text(g)))]),
    "no colon": Shape(opens=False, head=lambda g, key: [b"x-api-key %s%s\r\n" % (key, text(g))]),
    "a name that is nearly right": Shape(opens=False, head=lambda g, key: [named(key, g.choice(ODD_NAMES))]),
    "odd letters in a name": Shape(
        opens=False, head=lambda g, key: [named(key, with_bytes(g, b"x-api-key", [*CONTROLS, *range(128, 256)]))]
    ),
    "folded lines": Shape(
        opens=False,
        head=lambda g, key: [b"authorization: Bearer\r\n%s%s%s\r\n" % (b" " * g.randint(1, 9), text(g), key)],
    ),
    "huge": Shape(opens=False, head=lambda g, _: [either(g, b"x" * g.randint(1_000, 200_000))]),
    "very many": Shape(
        opens=False, head=lambda g, _: [named(text(g), text(g, 9)) for _ in range(g.randint(100, 3_000))]
    ),
    "two lengths": Shape(opens=False, head=lambda g, _: _lengths(g), sized=False),
    "a length and parts": Shape(
        opens=False,
        head=lambda g, key: shuffled(g, b"transfer-encoding: chunked\r\n", _lengths(g)[0], b"x-k: %s\r\n" % key),
        sized=False,
    ),
    "an odd length": Shape(
        opens=False, head=lambda g, _: [named(g.choice(ODD_LENGTHS), b"content-length")], sized=False
    ),
    "an odd coding": Shape(
        opens=False, head=lambda g, _: [named(g.choice(ODD_CODINGS), b"transfer-encoding")], sized=False
    ),
    "an odd upgrade": Shape(
        opens=False, head=lambda g, _: [b"upgrade: %s\r\n" % text(g, 9), b"connection: upgrade\r\n", named(text(g))]
    ),
    "a key behind the body": Shape(
        opens=False,
        head=lambda g, key: [
            b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s" % (len(BODY), BODY, either(g, key))
        ],
        sized=False,
    ),
    "several hosts": Shape(
        opens=False, head=lambda g, _: [named(text(g, 20), b"host") for _ in range(g.randint(1, 9))]
    ),
}
