"""What a child writes: lines of a bounded length, at a bounded pace, and what of them is shown in the log."""

import logging
import os
from collections.abc import Iterator
from typing import Final

import anyio
import anyio.lowlevel

from mcp_keys_server.core.api_key import redact

logger = logging.getLogger(__name__)

CHUNK: Final = 64 * 1024
LONGEST_SHOWN: Final = 1000
"""Characters of one line in the log."""
LINES_SHOWN: Final = 100
SECONDS_OF_THOSE: Final = 5.0


class LineTooLongError(Exception):
    """A line has more bytes than it may have."""


class Lines:
    """Makes lines of chunks and never holds more than the longest one."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun = bytearray()

    def ended_by(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in this chunk, without their newlines.

        Raises:
            LineTooLongError: One is too long, whether it has ended or not.
        """
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            self._add(line)
            yield bytes(self._begun)
            self._begun.clear()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if len(self._begun) + len(part) > self._longest:
            raise LineTooLongError
        self._begun += part


class Pace:
    """Keeps whoever uses it to so much a second, after a second's worth in advance: whoever writes more than that has
    to wait for its reader, and everybody else is served meanwhile.
    """

    def __init__(self, a_second: float) -> None:
        self._a_second = a_second
        self._spent_until = float("-inf")

    async def keep(self, amount: float) -> None:
        now = anyio.current_time()
        self._spent_until = max(self._spent_until, now - 1) + amount / self._a_second
        if self._spent_until > now:
            await anyio.sleep(self._spent_until - now)


class ShownLines:
    """Puts lines of a child's into the log: a hundred in five seconds, and of the rest how many there were."""

    def __init__(
        self,
        beginning: str,
        *,
        longest: int = LONGEST_SHOWN,
        lines: int = LINES_SHOWN,
        seconds: float = SECONDS_OF_THOSE,
    ) -> None:
        self._beginning = beginning
        self._longest = longest
        self._lines = lines
        self._seconds = seconds
        self._shown = 0
        self._shown_until = float("-inf")
        self._left_out = 0

    def are_enough(self) -> bool:
        """Whether the next one would be left out."""
        now = anyio.current_time()
        if now >= self._shown_until:
            self.tell_rest()
            self._shown_until = now + self._seconds
            self._shown = 0
        return self._shown == self._lines

    def show(self, line: bytes) -> None:
        if self.are_enough():
            self.leave_out(1)
            return
        self._shown += 1
        logger.info("%s: %s", self._beginning, shown(line, self._longest))

    def leave_out(self, lines: int) -> None:
        self._left_out += lines

    def tell_rest(self) -> None:
        """Say how many lines were left out since this was last said."""
        if self._left_out:
            logger.info("%s: … %d more lines left out", self._beginning, self._left_out)
            self._left_out = 0


def shown(line: bytes, longest: int) -> str:
    """A line as it may stand in a log: without keys, without what a terminal takes for a command, and not for ever."""
    # Redacted before it is cut, because the first half of a key does not look like one.
    text = redact(line[: 8 * longest].decode("utf-8", "replace").rstrip())
    cut = text if len(text) <= longest else text[:longest] + "…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


async def read_some(pipe: int) -> bytes:
    """What has been written, 64 KiB at most; nothing when nobody can write any more."""
    await anyio.lowlevel.checkpoint()  # what is always full would keep everybody else waiting
    while True:
        try:
            return os.read(pipe, CHUNK)
        except BlockingIOError:
            await anyio.wait_readable(pipe)


async def write_all(pipe: int, text: bytes) -> None:
    """
    Raises:
        BrokenPipeError: Nobody can read it any more.
    """
    rest = memoryview(text)
    while rest:
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:
            await anyio.wait_writable(pipe)


async def show_all(pipe: int, lines: ShownLines) -> None:
    """Put all that is written there into the log, until nobody can write any more. Of one endless line only the
    beginning is held.
    """
    pace = Pace(1024 * 1024)
    begun = b""
    while chunk := await read_some(pipe):
        *ended, rest = chunk.split(b"\n")
        for number, line in enumerate(ended):
            if lines.are_enough():  # asked before thousands of them are looked at one by one
                lines.leave_out(len(ended) - number)
                break
            lines.show(begun + line)
            begun = b""
        begun = (rest if ended else begun + rest)[: 8 * LONGEST_SHOWN]
        await pace.keep(len(chunk))
    if begun:
        lines.show(begun)
    lines.tell_rest()
