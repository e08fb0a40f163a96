"""Checksum secrets replaced where nobody else has to learn of it."""

import math

import pytest

from mcp_keys_server import KeyRing


class BrokenOffError(Exception):
    pass


async def at_once(_: float) -> None:
    pass


async def broken_off(_: float) -> None:
    raise BrokenOffError


async def replace(ring: KeyRing) -> None:
    await ring.administration.replace_checksum_secret(at_once)
    await ring.checksum_secrets.look()


def be_late(ring: KeyRing, *known: bytes) -> None:
    """As one that knows these and could not look for a while."""
    ring.checksum_secrets._known = known
    ring.checksum_secrets._known_at = -math.inf


async def announce(ring: KeyRing) -> None:
    """And go no further."""
    with pytest.raises(BrokenOffError):
        await ring.administration.replace_checksum_secret(broken_off)
    await ring.checksum_secrets.look()
