"""A bar that says how far it is, for people only."""

import shutil
from typing import Final, TextIO

_CLEAR: Final = "\r\x1b[K"
_WIDTH: Final = 24


class Progress:
    """Of so many parts."""

    def __init__(self, stream: TextIO, parts: int = 0) -> None:
        self._stream = stream
        self._is_watched = stream.isatty()
        self._parts = parts
        self._done = 0

    def part_is_done(self) -> None:
        self._done = min(self._done + 1, self._parts)  # one that is measured again was counted before

    def show(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns
        self._write(f"{_CLEAR}{(self._bar() + text)[: columns - 1]}")

    def clear(self) -> None:
        self._write(_CLEAR)

    def _bar(self) -> str:
        if not self._parts:
            return ""
        full = _WIDTH * self._done // self._parts
        return f"{'█' * full}{'░' * (_WIDTH - full)} {self._done} of {self._parts} parts, "

    def _write(self, text: str) -> None:
        if self._is_watched:
            self._stream.write(text)
            self._stream.flush()
