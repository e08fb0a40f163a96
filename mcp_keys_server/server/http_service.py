"""The HTTP application on a socket, until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_keys_server.auth.answers import STOPPING
from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.file_limit import FrugalListener
from mcp_keys_server.server.http_protocol import HttpProtocol, Owed
from mcp_keys_server.server.slow_clients import PATIENCE, SlowClients

logger = logging.getLogger(__name__)

SECONDS_TO_FINISH = 4
"""After that open requests are cut, so that a stop takes less than five seconds whatever clients do."""
_TICKS_A_SECOND = 10
"""Of uvicorn's."""
_FAILED = 500
_COLLECT_AFTER = 700, 10, 100
"""As Python has it, but for the last: with 10 the collector goes through all that there is twice a second while very
many requests are refused, and with 1,000 connections takes 150 ms each time, in which nobody is answered. What is new
it goes through as often as ever, because in what requests leave to it there are copies of keys.
"""


class PortTakenError(McpKeysError):
    """The address cannot be listened on; the message says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """
    Raises:
        PortTakenError: It is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise PortTakenError(
            f"cannot listen on {host} port {port}: {_reason(error)}; stop what uses it, or give another --port"
        ) from error
    listener = FrugalListener(fileno=listening.detach())
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
    gc.set_threshold(*_COLLECT_AFTER)
    announce()
    await server.serve(sockets=[listener])


def http_server(app: ASGIApp, patience: Mapping[Owed, float] = PATIENCE) -> uvicorn.Server:
    """What serves this application, with our bounds; it ends when its ``should_exit`` is set, too."""
    config = uvicorn.Config(
        _AnswersWhenItStops(app),
        http=HttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        # Off, because it believes the address and scheme that any local process claims in a header.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    return _Server(config, patience)


class _AnswersWhenItStops:
    """Whoever has no answer yet when the server has stopped waiting is told to try again: uvicorn would say that
    something went wrong, and not that what was asked for may have been done.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, partial(self._receive_and_note, receive), send)
        elif self._is_over or not await self._is_answered(scope, receive, send):
            await STOPPING(scope, receive, send)

    async def _is_answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the application has, or has at least begun to."""
        begun = failed_at_the_end = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun, failed_at_the_end
            # It was to be cut, had caught that, and then missed what is closed.
            failed_at_the_end |= not begun and self._is_over and message.get("status") == _FAILED
            if not failed_at_the_end:
                begun = True
                await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            if begun:
                raise
            return False
        except Exception:
            if not failed_at_the_end:
                raise
            logger.debug("a request failed when all was closed", exc_info=True)
        return not failed_at_the_end

    async def _receive_and_note(self, receive: Receive) -> Message:
        message = await receive()
        self._is_over = message["type"] == "lifespan.shutdown"
        return message


class _Server(uvicorn.Server):
    """One that drops slow clients, which uvicorn would wait for as long as they like."""

    def __init__(self, config: uvicorn.Config, patience: Mapping[Owed, float]) -> None:
        super().__init__(config)
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        self._slow_clients = SlowClients(connections, patience)

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            await self._slow_clients.drop()
        return await super().on_tick(counter)
