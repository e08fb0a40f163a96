"""Where on the network a request comes from."""

from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope


def client_address(scope: Scope) -> str:
    """The network address of whoever sent the request."""
    client = scope.get("client")
    return _address(client[0]) if client else "unknown"


@lru_cache(maxsize=10_000)
def _address(host: str) -> str:
    # Behind a proxy it is what the proxy has written there, which is kept and shown only if it is an address.
    try:
        address = ip_address(host.partition("%")[0])  # without a zone, which is free text
    except ValueError:
        return "unknown"
    # All of IPv4 as a dual-stack socket writes it is one network of IPv6, and many people.
    return str(getattr(address, "ipv4_mapped", None) or address)
