"""Mints of keys that belong to no database."""

from mcp_keys_server.core.api_key import KeyMint, checksum
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from tests.world import World


def mint_of(secret: bytes, *, tag: str = "mhu_") -> KeyMint:
    return KeyMint(ChecksumSecrets([secret]), tag=tag)


def with_checksum(world: World, body: str) -> str:
    """As whoever has the checksum secret makes a key up."""
    return body + checksum(body, world.ring.checksum_secrets.making)
