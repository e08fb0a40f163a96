"""An HTTP client for the SDK, over connections that were checked by others, and with bounds that it does not have."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpcore2
import httpx2

from mcp_keys_server.upstreams import MEGABYTE

LARGEST_ANSWER: Final = 16 * MEGABYTE
"""Bytes."""
_READ_HEADERS: Final = frozenset({b"content-type", b"mcp-session-id"})
"""So there are no cookies to keep, no redirects to follow, and nothing is unpacked to more than was read."""


def checked_http(
    pool: httpcore2.AsyncConnectionPool, headers: Sequence[tuple[bytes, bytes]], *, seconds: float
) -> httpx2.AsyncClient:
    # With a transport of our own, no environment says by which proxy.
    return httpx2.AsyncClient(transport=_Transport(pool), headers=headers, timeout=seconds)


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        sent = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=await request.aread(),
            extensions=request.extensions,
        )
        with _errors_of_httpx():
            response = await self._pool.handle_async_request(sent)
        headers = [(name, value) for name, value in response.headers if name.lower() in _READ_HEADERS]
        return httpx2.Response(response.status, headers=headers, stream=_BoundedStream(response))


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        with _errors_of_httpx():
            async for chunk in self._response.aiter_stream():
                read += len(chunk)
                if read > LARGEST_ANSWER:
                    raise httpx2.ReadError("the answer is too large")
                yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
        raise httpx2.TransportError(str(error)) from error
