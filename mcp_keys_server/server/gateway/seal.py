"""What an upstream gives out, tied to whoever it was given to."""

import base64
import hmac
from typing import Final

_PURPOSE: Final = b"mcp-keys-server gateway seal"
_DIGEST_BYTES: Final = 16


class Seal:
    """Ties an opaque value of an upstream's, a session id or a request state, to a key at an alias.

    The secret is made of the one that all processes on a database share, so whatever is sealed by one is opened by the
    others, and nothing has to be kept.
    """

    def __init__(self, shared_secret: bytes) -> None:
        self._secret = hmac.digest(shared_secret, _PURPOSE, "sha256")

    def seal(self, value: str, *bound_to: str) -> str:
        return f"{self._digest(value, bound_to)}.{value}"

    def open(self, sealed: str, *bound_to: str) -> str | None:
        """The value; None: it was not given out to these."""
        digest, _, value = sealed.partition(".")
        expected = self._digest(value, bound_to)
        return value if hmac.compare_digest(digest.encode("utf-8", "surrogatepass"), expected.encode()) else None

    def _digest(self, value: str, bound_to: tuple[str, ...]) -> str:
        # None of them has a NUL in it but the value, which is last.
        message = "\0".join((*bound_to, value)).encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._secret, message, "sha256")[:_DIGEST_BYTES]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
