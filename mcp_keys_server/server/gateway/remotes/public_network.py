"""The network as servers somewhere else are reached over it: public addresses only, unless the operator says so."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from socket import SOCK_STREAM
from typing import Final

import anyio
import httpcore2

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, as text."""

MOST_ADDRESSES: Final = 8
"""Of one name that are tried."""
# Which some releases of Python take for global: the relays of 6to4, all of the protocol assignments (one cloud has its
# metadata there), what another talks to its machines by, documentation, segment routing, NAT64 within a site, Teredo.
_NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        *("192.88.99.0/24", "192.0.0.0/24", "168.63.129.16/32"),
        *("3fff::/20", "5f00::/16", "64:ff9b:1::/48", "2001::/32"),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


class NotReachableError(httpcore2.ConnectError):
    """Nobody is connected to. The message says why, for the operator."""


async def resolved(host: str, port: int) -> Sequence[str]:
    """What the system says, which also knows the odd spellings of addresses: decimal, octal, cut short."""
    return [str(found[4][0]) for found in await anyio.getaddrinfo(host, port, type=SOCK_STREAM)]


class PublicNetwork(httpcore2.AsyncNetworkBackend):
    """Resolves each name once, judges every address that comes out, and connects to one of those very addresses.

    So a name that says something else a moment later, or is spelled oddly, leads nowhere else. A name with one private
    address among its public ones is refused as a whole: nobody has that by accident.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolved,
        wire: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._wire = wire or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the port's own word
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """
        Raises:
            NotReachableError: The name has no address, or one that is not public.
            httpcore2.ConnectError: Nobody answers there.
            httpcore2.ConnectTimeout: Nobody answers there in time.
        """
        addresses = await self._addresses(host, port, timeout)
        # Each gets its share of the time, so that a silent one does not use up that of those after it.
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._wire.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._wire.connect_tcp(addresses[-1], port, share, local_address, socket_options)

    async def _addresses(self, host: str, port: int, seconds: float | None) -> Sequence[str]:
        try:
            with anyio.fail_after(seconds):
                found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):  # a TimeoutError is an OSError; some names are none in IDNA
            raise NotReachableError(f"the name {host} cannot be resolved") from None
        if not found:
            raise NotReachableError(f"the name {host} has no address")
        if not self._allow_private:
            for address in found:
                if not is_public(address):
                    what = address if address == host else f"{host} is at {address}, which"
                    raise NotReachableError(
                        f"{what} is not a public address; if that is meant, set allow_private = true"
                    )
        return found[:MOST_ADDRESSES]


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach it as well, whatever address it wraps."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if parsed in _NAT64:  # which stands for an IPv4 address, in networks that have none
        return _is_public(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    wrapped = () if isinstance(parsed, IPv4Address) else (parsed.ipv4_mapped, parsed.sixtofour)
    return all(_is_public(each) for each in (parsed, *wrapped) if each is not None)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # A multicast address is "global" to Python, and so is the old site-local range.
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved)
        and not (isinstance(address, IPv6Address) and (address.is_site_local or address.scope_id))
        and not any(address in network for network in _NOT_PUBLIC)
    )
