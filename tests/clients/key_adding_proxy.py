"""A proxy on the loopback for clients that cannot send a key: it adds the key and leaves all else as it came, the
Host and the Origin too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

# Ours to say: which key, and that each connection carries one request, so that each gets the key.
OURS = (b"authorization", b"connection")
LARGEST_HEAD = 64 * 1024


@asynccontextmanager
async def key_adding_proxy(url: str, key: str) -> AsyncIterator[str]:
    """The URL under which the proxy stands for this one."""
    upstream = urlsplit(url)
    assert upstream.hostname
    assert upstream.port
    address = upstream.hostname, upstream.port
    added = [b"Authorization: Bearer " + key.encode(), b"Connection: close"]

    async def forward(client: SocketStream) -> None:
        asked = BufferedByteReceiveStream(client)
        # Either side may leave at any time, and a client leaves connections on which it asks for nothing.
        with suppress(anyio.IncompleteRead, anyio.BrokenResourceError):
            async with client:
                head = await asked.receive_until(b"\r\n\r\n", LARGEST_HEAD)
                request_line, *headers = head.split(b"\r\n")
                kept = [header for header in headers if header.partition(b":")[0].lower() not in OURS]
                async with await anyio.connect_tcp(*address) as server, anyio.create_task_group() as both_ways:
                    await server.send(b"\r\n".join([request_line, *added, *kept]) + b"\r\n\r\n")
                    both_ways.start_soon(_copy, asked, server)
                    await _copy(server, client)
                    both_ways.cancel_scope.cancel()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as serving,
    ):
        serving.start_soon(listener.serve, forward)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        yield f"http://127.0.0.1:{port}{upstream.path}"
        serving.cancel_scope.cancel()


async def _copy(source: ByteReceiveStream, target: ByteSendStream) -> None:
    with suppress(anyio.BrokenResourceError):
        async for chunk in source:
            await target.send(chunk)
