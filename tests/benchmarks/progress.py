"""A line that says how far it is, for people only."""

from typing import TextIO

_CLEAR = "\r\x1b[K"


class Progress:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_watched = stream.isatty()

    def show(self, text: str) -> None:
        self._write(f"{_CLEAR}{text}")

    def clear(self) -> None:
        self._write(_CLEAR)

    def _write(self, text: str) -> None:
        if self._is_watched:
            self._stream.write(text)
            self._stream.flush()
