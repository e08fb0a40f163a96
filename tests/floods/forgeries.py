"""Keys that are not good, of every kind that somebody can send very many of."""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mcp_keys_server.core.api_key import RANDOM_BYTES, checksum

IMPORTED = re.compile(r"mhu_[A-Za-z0-9_-]{43}")
"""The shape of an imported key, which has no checksum."""


class Kind(StrEnum):
    RANDOM = "random"
    """Of the shape of a key, and nothing else."""
    KNOWN_PREFIX = "known prefix"
    """A prefix that somebody has seen in a list or a log, and a rest that is made up."""
    STOLEN_CHECKSUM = "stolen checksum"
    """From a stolen database: all prefixes, and the secret with which the checksum is right."""
    REVOKED = "revoked"
    """Keys that were good."""
    IMPORTED = "imported"
    """The prefix of a key that was imported, which has no checksum, and a rest that is made up."""


NEVER_LOOKED_UP = frozenset({Kind.RANDOM, Kind.KNOWN_PREFIX})
"""Refused before the store is asked."""
NEVER_CHECKED = NEVER_LOOKED_UP | {Kind.REVOKED}
"""Refused without bcrypt."""


@dataclass(frozen=True)
class Loot:
    """What whoever makes them up knows."""

    checksum_secret: bytes
    prefixes: Sequence[str]
    imported_prefixes: Sequence[str]
    revoked: Sequence[str]

    def forgeries(self, kind: Kind, count: int) -> list[str]:
        return [self._forgery(kind, number) for number in range(count)]

    def _forgery(self, kind: Kind, number: int) -> str:
        rest = secrets.token_urlsafe(RANDOM_BYTES)[8:]
        prefix = self.prefixes[number % len(self.prefixes)]
        match kind:
            case Kind.RANDOM:
                return f"mhu_{secrets.token_urlsafe(RANDOM_BYTES)}{secrets.token_urlsafe(6)}"
            case Kind.KNOWN_PREFIX:
                return f"mhu_{prefix}{rest}{secrets.token_urlsafe(6)}"
            case Kind.STOLEN_CHECKSUM:
                body = f"mhu_{prefix}{rest}"
                return body + checksum(body, self.checksum_secret)
            case Kind.REVOKED:
                return self.revoked[number % len(self.revoked)]
            case Kind.IMPORTED:
                return f"mhu_{self.imported_prefixes[number % len(self.imported_prefixes)]}{rest}"


def malformed(plaintext: str, count: int) -> Iterator[str]:
    """About so many strings that are nearly this key, and have the shape of none."""
    return (one for one in (_spoilt(plaintext, number) for number in range(count)) if not IMPORTED.fullmatch(one))


def _spoilt(plaintext: str, number: int) -> str:
    """Cut, lengthened, or with one character exchanged."""
    position = number % len(plaintext)
    character = chr(0 if number % 7 == 0 else number % 0x10FFFF)
    match number % 4:
        case 0:
            return plaintext[:position]
        case 1:
            return plaintext + character * (number % 50 + 1)
        case 2:
            return (
                plaintext[:position]
                + ("!" if plaintext[position] == character else character)
                + plaintext[position + 1 :]
            )
        case _:
            return character + plaintext
