"""What an upstream gives out, tied to whoever it was given to."""

import base64
import hmac
from typing import Final

from mcp_keys_server.core.checksum_secrets import ChecksumSecrets

_PURPOSE: Final = b"mcp-keys-server gateway seal"
_DIGEST_BYTES: Final = 16


class Seal:
    """Ties an opaque value of an upstream's, a session id or a request state, to a key at an alias.

    The secret is made of the one that all processes on a database share, so whatever is sealed by one is opened by the
    others, and nothing has to be kept.
    """

    def __init__(self, shared_secrets: ChecksumSecrets) -> None:
        self._secrets = shared_secrets

    def seal(self, value: str, *bound_to: str) -> str:
        return f"{_digest(self._secrets.making, value, bound_to)}.{value}"

    def open(self, sealed: str, *bound_to: str) -> str | None:
        """The value; None: it was not given out to these."""
        digest, _, value = sealed.partition(".")
        found = digest.encode("utf-8", "surrogatepass")
        is_ours = any(hmac.compare_digest(found, _digest(secret, value, bound_to).encode()) for secret in self._secrets)
        return value if is_ours else None


def _digest(shared_secret: bytes, value: str, bound_to: tuple[str, ...]) -> str:
    secret = hmac.digest(shared_secret, _PURPOSE, "sha256")
    # None of them has a NUL in it but the value, which is last.
    message = "\0".join((*bound_to, value)).encode("utf-8", "surrogatepass")
    digest = hmac.digest(secret, message, "sha256")[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
