"""The secret of the checksum of keys: a database is made with it, and without it none of its keys is one."""

import hashlib
import secrets
from typing import Final

from mcp_keys_server.core.errors import UnusableDatabaseError

CHECKSUM_SECRET: Final = "checksum_secret"  # noqa: S105 - the name of its entry of ``meta``, not its value
_RANDOM_BYTES: Final = 32
_DIGEST_BYTES: Final = 8


def new_checksum_secret() -> bytes:
    """Random bytes and a digest of them, because with a secret that is damaged every key would seem to be nobody's."""
    return with_digest(secrets.token_bytes(_RANDOM_BYTES))


def with_digest(random: bytes) -> bytes:
    return random + hashlib.blake2b(random, digest_size=_DIGEST_BYTES).digest()


def whole_checksum_secret(where: object, found: bytes | None) -> bytes:
    """
    Raises:
        UnusableDatabaseError: There is none, or it is not as it was made.
    """
    if found is None or len(found) != _RANDOM_BYTES + _DIGEST_BYTES or found != with_digest(found[:_RANDOM_BYTES]):
        raise UnusableDatabaseError(f"{where} has lost its checksum secret; restore a backup")
    return found
