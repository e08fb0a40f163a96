"""Programs in processes of their own, and ports for them."""

import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
        until = monotonic() + SECONDS_TO_START
        while not _listens(port):
            assert process.poll() is None, f"it ended early: {log.read_text()}"
            assert monotonic() < until, f"it does not listen: {log.read_text()}"
            sleep(0.05)
        yield
        assert process.poll() is None, f"it ended early: {log.read_text()}"
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_TO_STOP)
    finally:
        process.kill()
        process.wait(SECONDS_TO_STOP)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
