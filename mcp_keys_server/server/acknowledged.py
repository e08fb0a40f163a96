"""How much of what it was sent a client has taken, as far as the system knows."""

import asyncio
import socket
from struct import Struct
from typing import Final

# Of Linux's struct tcp_info (linux/tcp.h), to which nothing is ever added but at its end: how many packets are on their
# way, how many bytes were acknowledged since the beginning, and how many wait for the client to have room for them.
_TCP_INFO: Final = Struct("=24xI92xQ16xI")


def acknowledged_bytes(transport: asyncio.Transport) -> int | None:
    """A number that is another one when the client has taken something; None when there is nothing to be taken.

    What asyncio waits to hand over tells little by itself: the system holds several megabytes before that, and takes no
    more until there is room for many.
    """
    waiting = transport.get_write_buffer_size()
    try:
        told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except (AttributeError, OSError):  # another system than Linux
        return -waiting or None
    packets, acknowledged, unsent = _TCP_INFO.unpack(told)
    return int(acknowledged) if waiting or packets or unsent else None
