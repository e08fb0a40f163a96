"""Programs in processes of their own, and ports for them."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep

SECONDS_TO_START = 60
SECONDS_TO_STOP = 20


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str], folder: Path, *, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The program in this folder, as soon as it listens on this port of the loopback interface; stopped at the end."""
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, f"{command[0]} does not listen")
        assert process.poll() is None, f"it ended early: {log.read_text()}"
        yield
        assert process.poll() is None, f"it ended early: {log.read_text()}"
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_TO_STOP)
    finally:
        process.kill()
        process.wait(SECONDS_TO_STOP)


def wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    until = monotonic() + SECONDS_TO_START
    while not holds():
        assert monotonic() < until, otherwise
        sleep(0.05)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
