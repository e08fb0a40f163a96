"""The way to one server somewhere else: its address, the operator's headers, and connections that go nowhere else."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from ssl import SSLContext
from typing import Final
from urllib.parse import quote

import anyio
import httpcore2
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_keys_server import __version__
from mcp_keys_server.server.gateway.remotes.checked_http import checked_http
from mcp_keys_server.server.gateway.remotes.relay_trouble import Trouble, TroubleError
from mcp_keys_server.server.gateway.remotes.relayed_headers import Headers
from mcp_keys_server.upstreams import RemoteUpstream

SECONDS_TO_CONNECT: Final = 10.0
SECONDS_TO_SEND: Final = 30.0
# Shorter than what servers commonly wait for the next request before they close.
SECONDS_KEPT_ALIVE: Final = 4.0
MOST_KEPT_ALIVE: Final = 20
_OURS: Final = ((b"accept-encoding", b"identity"), (b"user-agent", f"mcp-keys-server/{__version__}".encode()))


class RemoteConnection:
    """Opens requests. No environment says by which proxy, no cookie is kept, no redirect is followed."""

    def __init__(
        self,
        upstream: RemoteUpstream,
        network: httpcore2.AsyncNetworkBackend,
        *,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self._upstream = upstream
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=None,  # each user has a limit of their own
            max_keepalive_connections=MOST_KEPT_ALIVE,
            keepalive_expiry=SECONDS_KEPT_ALIVE,
            network_backend=network,
        )

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        fields: Mapping[str, str],
        headers: Headers,
        content: str | None = None,
        *,
        seconds: float,
    ) -> AsyncIterator["RemoteAnswer"]:
        """The answer, which has to begin within so many seconds; in the end the connection is closed, unless all of
        it was read.

        Raises:
            TroubleError: There is none, or none that can be read.
        """
        body = b"" if content is None else content.encode("ascii")
        lengths = [] if content is None else [(b"content-length", str(len(body)).encode())]
        try:
            url = self._url(fields)
            request = httpcore2.Request(
                method,
                httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[(b"host", url.netloc), *lengths, *self._with_ours(headers, fields)],
                content=body,
                extensions={"timeout": {"connect": SECONDS_TO_CONNECT, "write": SECONDS_TO_SEND}},
            )
            with anyio.fail_after(seconds):
                response = await self._pool.handle_async_request(request)
        except TimeoutError:
            raise TroubleError(Trouble.SILENT, "it gave no answer in time") from None
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise TroubleError(Trouble.UNREACHABLE, f"it cannot be reached: {error}") from None
        except httpcore2.RemoteProtocolError as error:
            raise TroubleError(Trouble.GARBAGE, f"it does not speak HTTP: {error}") from None
        except (httpcore2.LocalProtocolError, httpx2.InvalidURL, UnicodeEncodeError):
            raise TroubleError(
                Trouble.UNREACHABLE, "its address or a header for it, as configured, cannot be sent"
            ) from None
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            raise TroubleError(Trouble.BROKEN, f"the connection broke: {type(error).__name__}") from None
        try:
            yield RemoteAnswer(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    @asynccontextmanager
    async def client(self, fields: Mapping[str, str], *, seconds: float) -> AsyncIterator[Client]:
        """A client of our own, over the same connections.

        Raises:
            BaseException: Whatever the SDK makes of a server that does not do as it should.
        """
        headers = self._with_ours((), fields)
        async with (
            checked_http(self._pool, headers, seconds=seconds) as http,
            Client(
                streamable_http_client(str(self._url(fields)), http_client=http),
                cache=None,
                read_timeout_seconds=seconds,
            ) as client,
        ):
            yield client

    async def aclose(self) -> None:
        await self._pool.aclose()

    def _url(self, fields: Mapping[str, str]) -> httpx2.URL:
        escaped = {name: quote(value, safe="") for name, value in fields.items()}
        return httpx2.URL(self._upstream.url.filled(**escaped))

    def _with_ours(self, headers: Headers, fields: Mapping[str, str]) -> Headers:
        operators = {
            name.lower().encode("ascii"): value.filled(**fields).encode("latin-1")
            for name, value in self._upstream.headers.items()
        }
        others = [(name, value) for name, value in (*headers, *_OURS) if name not in operators]
        return [*others, *operators.items()]


class RemoteAnswer:
    """One that has begun."""

    def __init__(self, response: httpcore2.Response) -> None:
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]
        self._response = response

    def header(self, name: bytes) -> str:
        """The first of this name; empty if there is none."""
        return next((value.decode("latin-1") for other, value in self.headers if other == name), "")

    @property
    def content_type(self) -> str:
        return self.header(b"content-type").partition(";")[0].strip().lower()

    async def chunks(self, *, seconds: float | None) -> AsyncGenerator[bytes]:
        """What comes, as it comes.

        Raises:
            TroubleError: It breaks off, or nothing comes for so many seconds.
        """
        async with aclosing(self._response.aiter_stream()) as stream:
            while True:
                try:
                    with anyio.fail_after(seconds):
                        chunk = await anext(stream, None)
                except TimeoutError:
                    raise TroubleError(Trouble.SILENT, "it fell silent within an answer") from None
                except (httpcore2.ProtocolError, httpcore2.NetworkError) as error:
                    raise TroubleError(Trouble.BROKEN, f"it broke off an answer: {error}") from None
                if chunk is None:
                    return
                yield chunk

    async def whole(self, most_bytes: int, *, seconds: float) -> bytes | None:
        """All of it; None: it is more than that.

        Raises:
            TroubleError: As above.
        """
        body = bytearray()
        async with aclosing(self.chunks(seconds=seconds)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > most_bytes:
                    return None
        return bytes(body)
