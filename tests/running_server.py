"""The real program, serving in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.databases import Database

PROGRAM = [sys.executable, "-m", "mcp_keys_server"]
ADA = ("--first-user", "ada", "--print-key")
"""The first user, with a key that ``serve`` prints."""
CHEAPEST = {"MCP_KEYS_BCRYPT_COST": "4"}
NOWHERE = {"XDG_CONFIG_HOME": os.devnull}
"""No test writes keys into the configuration folder of whoever runs it."""
SECONDS_TO_STOP = 20


def environment(**more: str) -> dict[str, str]:
    """The process's environment without settings of ours, and with the cheapest bcrypt."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MCP_KEYS_")}
    return plain | CHEAPEST | NOWHERE | more


def run(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """The program run to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments], input=stdin, capture_output=True, text=True, env=environment(**more), check=False
    )


@dataclass(frozen=True)
class RunningServer:
    process: subprocess.Popen[str]
    base_url: str
    printed: str
    log: Path
    others: tuple["RunningServer", ...] = ()
    """What answers under the same base URL."""

    @property
    def logs(self) -> list[str]:
        """What it has logged, and each of the others."""
        return [each.log.read_text() for each in (self, *self.others)]

    @property
    def first_key(self) -> str:
        found = re.search(r"^  key +(\S+)$", self.printed, re.MULTILINE)
        assert found, self.printed
        return found[1]

    @property
    def invitation(self) -> str:
        found = re.search(r"^  (\S+/keys/invitation/\S+)$", self.printed, re.MULTILINE)
        assert found, self.printed
        return found[1]

    def endpoint(self, user: str = "ada", alias: str = "keys") -> str:
        return f"{self.base_url}/u/{user}/{alias}/mcp"

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS_TO_STOP)


@contextmanager
def running_server(
    database: Database, *arguments: str, program: Sequence[str] = PROGRAM, **more: str
) -> Iterator[RunningServer]:
    """``serve`` on a free port, as soon as it listens, with what it printed until then; stopped at the end."""
    log = database.folder / f"server.{os.urandom(4).hex()}.log"
    database.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [*program, "serve", "--database", str(database), "--port", "0", *arguments]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(**more))
    assert process.stdout is not None
    printed = ""
    try:
        while not printed.endswith("Ctrl+C stops the server.\n"):
            line = process.stdout.readline()
            assert line, f"the server ended early: {printed}{log.read_text()}"
            printed += line
        found = re.search(r"^Listening on +(\S+)$", printed, re.MULTILINE)
        assert found, printed
        server = RunningServer(process, f"http://{found[1]}", printed, log)
        yield server
        server.stop()
    finally:
        process.kill()
        process.wait(SECONDS_TO_STOP)
        process.stdout.close()
