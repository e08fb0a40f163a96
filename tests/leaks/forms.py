"""In which forms a secret may stand somewhere, and the search for all of them."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHARACTERS = 8
"""That are looked for at once: of any sixteen in a row, eight that begin at a multiple of eight are a part. They are 48
random bits, which stand nowhere by chance.
"""


@dataclass(frozen=True)
class Trace:
    """A part of a secret, as it was found."""

    of: str
    """Which secret, in words."""
    form: str


class Secrets:
    """Those that are looked for, by what each of them is."""

    def __init__(self) -> None:
        self._needles: list[tuple[Trace, bytes]] = []
        self._names: list[str] = []

    def add(self, name: str, key: str) -> str:
        """The key, whose secret part is looked for from now on."""
        self._names.append(name)
        secret = key[12:]  # tag and prefix are no secrets
        for start in range(0, len(secret) - CHARACTERS + 1, CHARACTERS):
            for form, needle in forms_of(secret[start : start + CHARACTERS]):
                self._needles.append((Trace(name, form), needle))
        return key

    def __len__(self) -> int:
        return len(self._names)

    def traces_in(self, content: bytes) -> set[Trace]:
        return {trace for trace, needle in self._needles if needle in content}


def forms_of(text: str) -> Iterator[tuple[str, bytes]]:
    plain = text.encode()
    yield "as it is", plain
    for encoding in ("utf-16-le", "utf-32-le"):
        yield encoding, text.encode(encoding)
    yield "utf-16-be", text.encode("utf-16-be")[1:]  # which without its first byte is no part of the other
    for name, written in _byte_by_byte(plain):
        yield name, written.encode()
    for shift in range(3):
        # Of three bytes that stand together, each alignment makes four other letters.
        whole = plain[(3 - shift) % 3 :]
        yield f"base64, shifted by {shift}", base64.b64encode(whole[: len(whole) // 3 * 3])
    yield "backwards", plain[::-1]


def _byte_by_byte(plain: bytes) -> Iterable[tuple[str, str]]:
    yield "hexadecimal", plain.hex()
    yield "hexadecimal, in capitals", plain.hex().upper()
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in plain)
    yield "percent-encoded, in capitals", "".join(f"%{byte:02X}" for byte in plain)
    yield "escaped for JSON", "".join(f"\\u{byte:04x}" for byte in plain)
    yield "as numbers", ", ".join(map(str, plain))
