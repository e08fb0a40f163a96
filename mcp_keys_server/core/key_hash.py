"""The forms of a stored key hash: of keys that were made here, and of those that came from elsewhere.

::

    $2b$12$...                bcrypt of a key that was made here
    imported:$2b$12$...       bcrypt of a key that was made elsewhere, and so has no checksum
    sha256:0123456789abc...   SHA-256 of such a key that was not used since it came

The first two are told apart because an imported key is looked up whoever made it up: it is compared with the hashes of
imported keys only, and nobody can try forgeries on the prefix of a key that has a checksum.
"""

import re
from typing import Final

_IMPORTED: Final = "imported:"
_SHA256: Final = "sha256:"

# The last character of the salt has two bits of it, and bcrypt refuses those that set others.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?P<cost>0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_SHA256_DIGITS: Final = re.compile(r"[0-9a-f]{64}")


def cost_of_bcrypt(text: str) -> int | None:
    """The cost in a bcrypt string; None: it is none."""
    found = _BCRYPT.fullmatch(text)
    return None if found is None else int(found["cost"])


def is_sha256(text: str) -> bool:
    return _SHA256_DIGITS.fullmatch(text) is not None


def is_key_hash(text: str) -> bool:
    digits = sha256_within(text)
    return cost_of_bcrypt(bcrypt_within(text)) is not None if digits is None else is_sha256(digits)


def imported_bcrypt(bcrypt_string: str) -> str:
    """The hash of an imported key, from the bcrypt string of it."""
    return _IMPORTED + bcrypt_string


def imported_sha256(digits: str) -> str:
    """The hash of an imported key, from the hexadecimal digits of its SHA-256."""
    return _SHA256 + digits


def is_imported(key_hash: str) -> bool:
    return key_hash.startswith((_IMPORTED, _SHA256))


def sha256_within(key_hash: str) -> str | None:
    """The hexadecimal digits; None: it is of bcrypt."""
    return key_hash.removeprefix(_SHA256) if key_hash.startswith(_SHA256) else None


def bcrypt_within(key_hash: str) -> str:
    """The bcrypt string of a hash that is no SHA-256."""
    return key_hash.removeprefix(_IMPORTED)
