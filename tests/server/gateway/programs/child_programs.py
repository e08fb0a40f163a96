"""Small programs, most of them ill-behaved, to be run as children."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from mcp_keys_server.server.gateway.programs.child_process import Spawn

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as other users")

SILENT = "import sys; sys.stdin.read()"
"""Until its input ends."""
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"jsonrpc": "2.0", "method": "up"}', flush=True)
time.sleep(1000)
"""
ECHO = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"method": asked["method"]}}), flush=True)
"""


def python(code: str, folder: Path, **more: object) -> Spawn:
    return program((sys.executable, "-I", "-S", "-c", code), folder, **more)


def program(command: tuple[str, ...], folder: Path, **more: object) -> Spawn:
    named = {"environment": {"PATH": os.defpath}, "uid": None, "label": "notes of ada"} | more
    return Spawn(command=command, folder=folder, **named)  # type: ignore[arg-type]


def request(number: int = 1, method: str = "ping", size: int = 0) -> SessionMessage:
    return SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params={"of": "x" * size}))


def is_running(pid: int) -> bool:
    """Whether it is there and not only waits for its parent to ask how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not true():
            await anyio.sleep(0.02)


async def pids_in(file: Path, count: int = 1) -> list[int]:
    """The numbers that a program has written there, one a line, when there are so many."""
    await until(lambda: file.exists() and file.read_text().count("\n") >= count)
    return [int(line) for line in file.read_text().split()]


def put_down(pids: list[int]) -> None:
    """What a test was about not to find."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
