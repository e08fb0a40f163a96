"""Another program of the benchmark, in a process of its own, spoken to in lines of JSON."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_SECONDS_TO_STOP = 10


class Child:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:  # noqa: ANN401 - each program says what it says
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._process.args!r} ended early; what it wrote to standard error says why"
        return json.loads(line)


def child(module: str, *arguments: str, interpreter: str | Path = sys.executable) -> AbstractContextManager[Child]:
    """Run the module until the end of the block; the end of its standard input tells it to stop."""
    return child_program([str(interpreter), "-m", module, *arguments], _ROOT)


@contextmanager
def child_program(command: Sequence[str], folder: Path) -> Iterator[Child]:
    """The same for whatever the command starts, in this folder."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=folder,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Child(process)
    finally:
        process.stdin.close()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
