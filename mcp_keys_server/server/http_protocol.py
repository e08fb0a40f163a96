"""uvicorn's HTTP protocol with bounds to what a request may be, which knows what its client keeps it waiting for."""

import asyncio
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, cast

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mcp_keys_server.server.acknowledged import acknowledged_bytes

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of the request line and the header fields."""
MOST_FIELDS: Final = 100
"""In the head and behind the body together: each takes as long as hundreds of bytes."""
MOST_CHUNKS: Final = 4_096
"""Of a body that comes in chunks: each takes as long as thousands of bytes."""
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Owed(StrEnum):
    """What a client has to do next."""

    REQUEST = "request"
    """To begin one."""
    HEAD = "head"
    """To send the rest of it."""
    BODY = "body"
    """To send the rest of it."""
    READING = "reading"
    """To take what it was sent."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's faster parser, which sets no bounds to what comes before a body, with bounds.

    It also leaves out the white space at the end of header values, which is no part of them (RFC 9110 section 5.5).
    """

    _next = Owed.REQUEST
    """What comes next from the client, whether it is its turn or not."""
    _requests = 0
    _untold_bytes = 0
    """Received since the request began, or since the last of its body."""
    _parsed_bytes = 0
    """Of the request line and all fields."""
    _fields = _chunks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._earlier: deque[RequestResponseCycle] = deque()
        """Requests that had no whole answer yet when the next one came, in their order."""

    def data_received(self, data: bytes) -> None:
        owed = self._next
        self._untold_bytes += len(data)
        super().data_received(data)
        # The parser tells of a field when it is whole, which may be never, be it of the head or behind the body.
        if owed is self._next is not Owed.REQUEST and self._untold_bytes > LARGEST_HEAD:
            if owed is Owed.HEAD:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._next = Owed.HEAD
        self._requests += 1
        self._untold_bytes = self._parsed_bytes = self._fields = self._chunks = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise HttpParserError("the request has too many fields")
        # What comes behind the body (RFC 9110 section 6.5) is no part of the head, of which a proxy has taken out what
        # only it may say.
        if self._next is Owed.HEAD:
            if name.lower() == b"host":
                value = self._host(value)
            super().on_header(name, value.strip(b" \t"))

    def _host(self, value: bytes) -> bytes:
        """In lower case, because all spellings of a host are one (RFC 3986 section 3.2.2)."""
        if any(earlier == b"host" for earlier, _ in self.headers):
            raise HttpParserError("the request is for two hosts")  # RFC 9112 section 3.2
        return value.lower()

    def _count(self, parsed: int) -> None:
        self._parsed_bytes += parsed
        if self._parsed_bytes > LARGEST_HEAD:
            raise HttpParserError("the request's head is too large")

    def send_400_response(self, msg: str) -> None:
        """For all that the parser does not take."""
        if self._is_to_be_told or (self._next is Owed.REQUEST and not self._is_answering):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > MOST_CHUNKS:
            raise HttpParserError("the body comes in too many chunks")

    def on_body(self, body: bytes) -> None:
        self._untold_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._next = Owed.BODY
        if self._is_answering:
            while self._earlier and self._earlier[0].response_complete:
                self._earlier.popleft()
            self._earlier.append(self.cycle)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._next = Owed.REQUEST
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # which tells the last one
        for each in self._earlier:
            each.disconnected = True
            each.message_event.set()

    def owed(self) -> Iterator[tuple[Owed, int]]:
        """What is waited for here, each with a number that is another one when the client has done something of it."""
        if self._is_clients_turn:
            yield self._next, self._requests
        acknowledged = self._acknowledged_bytes
        if acknowledged is not None:
            yield Owed.READING, acknowledged

    @property
    def _acknowledged_bytes(self) -> int | None:
        # Nothing is asked of the system for those who wait for their next request: they were sent all that they get.
        return acknowledged_bytes(self.transport) if self._is_answering or self._is_sending else None

    @property
    def _is_sending(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    @property
    def _is_clients_turn(self) -> bool:
        if self.transport.is_closing() or self.flow.read_paused:  # by uvicorn, which has enough to do
            return False
        match self._next:
            case Owed.REQUEST:
                return not self._is_answering
            case Owed.BODY:
                return not self.cycle.waiting_for_100_continue
            case _:
                return True

    @property
    def _is_answering(self) -> bool:
        last = cast("RequestResponseCycle | None", self.cycle)
        return last is not None and not last.response_complete

    def drop(self) -> None:
        """Close it, with a word to a client of which only the rest of a request is missing."""
        if self._acknowledged_bytes is not None:
            self.transport.abort()  # closed, it would stay until all of that is taken
            return
        if self._is_to_be_told:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    @property
    def _is_to_be_told(self) -> bool:
        """Whether it would not take that for an answer to another request, or for a part of one."""
        match self._next:
            case Owed.HEAD:
                return not self._is_answering
            case Owed.BODY:
                return not self.cycle.response_started and not self.pipeline
            case _:
                return False
