"""The real program with several workers, of which any are killed at any moment."""

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tests.cli.test_workers import children, until
from tests.running_server import PROGRAM, environment

Victim: TypeAlias = Literal["a worker", "the keeper", "all"]
WORKERS: Final = 4
UNLIMITED: Final = {
    f"MCP_KEYS_{limit}": "1000000" for limit in ("CALLS_PER_MINUTE", "CHANGES_PER_HOUR", "FAILURES_PER_MINUTE")
}


class KilledServer:
    """``serve`` on a free port, another one each time that it is started again."""

    def __init__(self, database: Path, log: Path, program: Sequence[str]) -> None:
        self.port = 0
        self.slowest_start = 0.0
        """Seconds until all workers are ready."""
        self._command = [*program, "serve", "--database", f"{database}", "--port", "0", "--workers", f"{WORKERS}"]
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._orphans: list[int] = []

    def start(self) -> None:
        begun = time.monotonic()
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(**UNLIMITED),
                start_new_session=True,  # so that all of them can be killed at once
            )
        assert self._process.stdout
        printed = ""
        with self._process.stdout as lines:
            while not printed.endswith("Ctrl+C stops the server.\n"):
                line = lines.readline()
                assert line, f"the server ended early: {printed}{self._log.read_text()}"
                printed += line
        found = re.search(r"^Listening on +\S+:(\d+)$", printed, re.MULTILINE)
        assert found, printed
        self.port = int(found[1])
        self.slowest_start = max(self.slowest_start, time.monotonic() - begun)

    def kill(self, victim: Victim) -> None:
        """Kill these, and start the server again unless the keeper is left, who does so himself."""
        assert self._process
        workers = children(self._process.pid)
        match victim:
            case "a worker":
                if workers:  # or else all have just been killed, and there are others soon
                    _kill(secrets.choice(workers))
                return
            case "the keeper":
                self._orphans = workers
                self._process.kill()
            case "all":
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def wait_for_orphans(self) -> None:
        """Workers whose keeper was killed end by themselves."""
        until(lambda: not any(map(_lives, self._orphans)))
        self._orphans = []

    def end(self) -> None:
        for pid in filter(_lives, self._orphans):
            _kill(pid)
        if self._process is not None:
            self.kill("all")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def a_killed_server(database: Path, program: Sequence[str] = PROGRAM) -> Iterator[KilledServer]:
    server = KilledServer(database, database.with_name("server.log"), program)
    try:
        server.start()
        yield server
    finally:
        server.end()
