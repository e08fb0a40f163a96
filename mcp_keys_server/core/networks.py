"""Whom a network address belongs to."""

from functools import lru_cache
from ipaddress import ip_network


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """The network of an address: of IPv6, everybody has at least 64 bits of them."""
    return str(ip_network((address, 64), strict=False)) if ":" in address else address
