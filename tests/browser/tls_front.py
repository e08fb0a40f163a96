"""What stands for the operator's TLS proxy: a forwarder on the loopback, with a certificate for localhost.

It runs in a thread of its own, so that a test that waits for something else does not keep the browser waiting.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.tls import TLSStream

from tests.certificate import write_certificate


@dataclass
class TlsFront:
    """It has its port before the server behind it, which is told its public URL when it starts."""

    url: str

    context: ssl.SSLContext
    upstream: str | None = None

    async def forward(self, connection: SocketStream) -> None:
        # Either side may leave at any time: a browser does so when it first sees a certificate that it does not know,
        # and it opens connections on which it asks for nothing. What is left over here would end all the others, too.
        try:
            async with connection:
                await self._forward(connection)
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass

    async def _forward(self, connection: SocketStream) -> None:
        # Not strict about how TLS ends, because HTTP says itself where a message does.
        browser = await TLSStream.wrap(
            connection, server_side=True, ssl_context=self.context, standard_compatible=False
        )
        assert self.upstream, "nothing stands behind the TLS front yet"
        address = urlsplit(self.upstream)
        assert address.hostname
        assert address.port
        server = await anyio.connect_tcp(address.hostname, address.port)
        async with server, anyio.create_task_group() as both_ways:
            both_ways.start_soon(_copy, browser, server, both_ways.cancel_scope)
            both_ways.start_soon(_copy, server, browser, both_ways.cancel_scope)


@contextmanager
def tls_front(folder: Path) -> Iterator[TlsFront]:
    """A front that waits for its ``upstream``; the certificate and its key are left in the folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder / "localhost.pem"))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_listening(context)) as front:
        yield front


@asynccontextmanager
async def _listening(context: ssl.SSLContext) -> AsyncIterator[TlsFront]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as serving,
    ):
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        front = TlsFront(f"https://localhost:{port}", context)
        serving.start_soon(listener.serve, front.forward)
        yield front
        serving.cancel_scope.cancel()


async def _copy(source: ByteReceiveStream, target: ByteSendStream, until: anyio.CancelScope) -> None:
    with suppress(anyio.BrokenResourceError):
        async for chunk in source:
            await target.send(chunk)
    until.cancel()
