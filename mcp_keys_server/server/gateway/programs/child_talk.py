"""What is said between a child and a session of the SDK: messages of one line each, over its input and output."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from mcp_keys_server.server.gateway.programs.child_output import (
    Lines,
    LineTooLongError,
    Pace,
    ShownLines,
    read_some,
    show_all,
    write_all,
)
from mcp_keys_server.server.gateway.programs.child_start import MEBIBYTE, Spawn

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

LINES_A_SECOND: Final = 1000
BYTES_OF_A_LINE: Final = 16 * 1024
"""What is longer counts as several lines."""


class Talk:
    """Both directions, and what the child says of itself on its standard error. Nothing is read before somebody wants
    it, so the child waits, and nothing piles up here.
    """

    def __init__(self, spawn: Spawn, process: subprocess.Popen[bytes], refuse: Callable[[str], None]) -> None:
        """``refuse`` ends the child, for the reason that it is called with."""
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - it was started with all three
        self._input, self._output, self._errors = process.stdin, process.stdout, process.stderr
        self._spawn = spawn
        self._refuse = refuse
        self._to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, self._from_session = anyio.create_memory_object_stream[SessionMessage](0)
        self.streams: Streams = incoming, outgoing
        self._writing = anyio.CancelScope()
        self._talking = anyio.CancelScope()
        self._heard_out = anyio.Event()

    async def run(self) -> None:
        with self._talking:
            async with anyio.create_task_group() as talk:
                talk.start_soon(self._write)
                async with anyio.create_task_group() as reading:
                    reading.start_soon(self._read)
                    reading.start_soon(self._read_errors)
                self._heard_out.set()

    def hang_up(self) -> None:
        """End the child's input, and let nobody wait for a message any more; what it still says is passed over."""
        for stream in self.streams:
            stream.close()
        self._writing.cancel()

    async def hear_out(self, seconds: float) -> None:
        """Let what a child that has ended said before be read to its end, and end."""
        with anyio.move_on_after(seconds):
            await self._heard_out.wait()
        self._talking.cancel()

    def close(self) -> None:
        """What is left when all else has ended."""
        self.hang_up()
        for end in (self._to_session, self._from_session, self._input, self._output, self._errors):
            end.close()

    async def _read(self) -> None:
        lines, pace = Lines(self._spawn.largest_line), Pace(LINES_A_SECOND)
        # Many programs greet whoever starts them.
        noise = ShownLines(f"upstream {self._spawn.label} wrote what is no message", longest=200, lines=5, seconds=60)
        try:
            while chunk := await read_some(self._output.fileno()):
                for line in lines.ended_by(chunk):
                    await pace.keep(1 + len(line) / BYTES_OF_A_LINE)
                    await self._hand_on(line, noise)
        except LineTooLongError:
            self._refuse(f"it wrote a line longer than {self._spawn.largest_line / MEBIBYTE:g} MiB")
        noise.tell_rest()
        self._to_session.close()

    async def _hand_on(self, line: bytes, noise: ShownLines) -> None:
        message = _parse(line)
        if message is None:
            noise.show(line)
            return
        # When nobody listens any more, it is read all the same: who cannot write does not come to its end.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._to_session.send(SessionMessage(message))

    async def _read_errors(self) -> None:
        await show_all(self._errors.fileno(), ShownLines(f"upstream {self._spawn.label}"))

    async def _write(self) -> None:
        try:
            with self._writing, suppress(BrokenPipeError):
                async for message in self._from_session:
                    line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await write_all(self._input.fileno(), line.encode() + b"\n")
        finally:
            self._input.close()
            self._from_session.close()
            self._to_session.close()  # the session learns that nobody hears it, instead of waiting for an answer


def _parse(line: bytes) -> JSONRPCMessage | None:
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return None
