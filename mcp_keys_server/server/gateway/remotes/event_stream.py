"""A stream of server-sent events, as one server writes it and another passes it on.

https://html.spec.whatwg.org/multipage/server-sent-events.html, "Interpreting an event stream".
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_ID: Final = 1024
"""Bytes of a line with the id of an event."""
_BYTES_OF_A_LINE: Final = 64
"""That holding one costs, beside what is in it."""
_LINE_END: Final = re.compile(rb"(\r\n|\n|\r)")
_ID: Final = b"id:"
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLargeError(Exception):
    """An event is larger than anything that is read at once."""


@dataclass(frozen=True, slots=True)
class Event:
    """What stood between two empty lines."""

    fields: Sequence[tuple[bytes, bytes]]
    """Names and values, without those of data."""
    data: bytes | None

    def encoded(self) -> bytes:
        lines = [name + b": " + value for name, value in self.fields]
        if self.data is not None:
            lines += [b"data: " + line for line in self.data.split(b"\n")]
        return b"".join(line + b"\n" for line in (*lines, b""))


class EventReader:
    """Reads events out of chunks, and holds no more than one of them, of at most so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lines = _Lines()
        self._fields: list[tuple[bytes, bytes]] = []
        self._data: list[bytes] = []
        self._held = 0

    def read(self, chunk: bytes) -> Iterator[Event]:
        """The events that are complete with this chunk.

        Raises:
            EventTooLargeError: One is larger than allowed, complete or not.
        """
        for line in self._lines.read(chunk):
            if line:
                self._held += len(line) + _BYTES_OF_A_LINE
                self._take(line)
            elif self._fields or self._data:
                yield Event(tuple(self._fields), b"\n".join(self._data) if self._data else None)
                self._fields, self._data, self._held = [], [], 0
            self._check()
        self._check()

    def _check(self) -> None:
        if self._held + self._lines.held > self._most_bytes:
            raise EventTooLargeError

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        else:
            # Also comments, whose name is empty: with them a server shows that it lives.
            self._fields.append((name, value))


class _Lines:
    def __init__(self) -> None:
        self._line = bytearray()
        self._after_cr = False
        self._begun = False

    @property
    def held(self) -> int:
        return len(self._line)

    def read(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that are complete with this chunk, without what ended them."""
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for text in ended[::2]:
            line = bytes(self._line + text)
            self._line.clear()
            if not self._begun:
                line, self._begun = line.removeprefix(_BOM), True
            yield line
        self._line += rest


class IdSealer:
    """Passes a stream on as it comes, but for the ids of its events, which become what ``seal`` makes of them."""

    def __init__(self, seal: Callable[[bytes], bytes]) -> None:
        self._seal = seal
        self._line = bytearray()
        """Of a line that may be one with an id, what came of it; everything else is not held."""
        self._passing = False

    def read(self, chunk: bytes) -> bytes:
        """
        Raises:
            EventTooLargeError: An id is longer than any id.
        """
        out = bytearray()
        *ended, rest = _LINE_END.split(chunk)
        for text, end in zip(ended[::2], ended[1::2], strict=True):
            out += self._begin(text) + self._finish() + end
        return bytes(out + self._begin(rest))

    def _begin(self, text: bytes) -> bytes:
        if self._passing:
            return text
        self._line += text
        if len(self._line) > LONGEST_ID:
            if self._line.startswith(_ID):
                raise EventTooLargeError
        elif self._line.startswith(_ID) or _ID.startswith(self._line):
            return b""
        self._passing = True
        begun = bytes(self._line)
        self._line.clear()
        return begun

    def _finish(self) -> bytes:
        self._passing = False
        line = bytes(self._line)
        self._line.clear()
        value = line.removeprefix(_ID).removeprefix(b" ")
        return _ID + b" " + self._seal(value) if line.startswith(_ID) and value else line
