"""The HTTP application on a socket, until it is told to stop."""

import gc
import os
import signal
import socket
from collections.abc import Callable

import uvicorn
from httptools import HttpParserError
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_keys_server.core.errors import McpKeysError

LARGEST_HEAD = 32 * 1024
"""Bytes of the request line and the header fields."""
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
SECONDS_TO_FINISH = 4
"""After that open requests are cut, so that a stop takes less than five seconds whatever clients do."""


class PortTakenError(McpKeysError):
    """The address cannot be listened on; the message says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """
    Raises:
        PortTakenError: It is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise PortTakenError(
            f"cannot listen on {host} port {port}: {_reason(error)}; stop what uses it, or give another --port"
        ) from error
    # Which accepted sockets inherit, and which asyncio does not set on those of a listener that names no protocol: an
    # answer is written in two pieces, and the second would wait 40 ms for the first to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "this is no host name"
    # The error's own text repeats the address in words of its own.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)


async def serve_http(app: Starlette, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; announce it as soon as these are obeyed."""
    server = http_server(app)
    # Before uvicorn does the same, so that no signal is lost in between; and after it, when uvicorn raises the signal
    # again, which would otherwise end the process before the database is closed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    # What is there by now stays for good. The collector would go through it again and again, which takes up to a fifth
    # of the time of a request of the handshake era.
    gc.collect()
    gc.freeze()
    announce()
    await server.serve(sockets=[listener])


def http_server(app: Starlette) -> uvicorn.Server:
    """What serves this application, with our bounds; it ends when its ``should_exit`` is set, too."""
    config = uvicorn.Config(
        app,
        http=_HttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        # Off, because it believes the address and scheme that any local process claims in a header.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    return uvicorn.Server(config)


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's faster parser, which sets no bounds to what comes before a body, with bounds.

    It also leaves out the white space at the end of header values, which is no part of them (RFC 9110 section 5.5).
    """

    _in_head = False
    _received_bytes = 0
    _parsed_bytes = 0

    def data_received(self, data: bytes) -> None:
        continued = self._in_head
        super().data_received(data)
        if continued and self._in_head:  # the parser tells of a header when it is whole, which may be never
            self._received_bytes += len(data)
            if self._received_bytes > LARGEST_HEAD:
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received_bytes = self._parsed_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed_bytes += len(name) + len(value)
        if self._parsed_bytes > LARGEST_HEAD:
            raise HttpParserError("the request's header fields are too large")  # which is answered with 400
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
