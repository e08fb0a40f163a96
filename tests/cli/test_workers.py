"""``serve`` with several workers."""

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from mcp_keys_server.cli.program import program
from mcp_keys_server.server.workers import keep_workers, wait_for_other_threads
from tests.databases import Database
from tests.running_server import ADA, PROGRAM, SECONDS_TO_STOP, RunningServer, environment, run, running_server

pytestmark = pytest.mark.long

SECONDS_TO_COME_TRUE = 60
"""On a machine that is busy with other things; else it never does."""
TWO = ("--workers", "2", *ADA)
INLINE = {"MCP_KEYS_SECRET_DELIVERY": "inline"}


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS_TO_COME_TRUE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def held(*pids: int) -> Iterator[None]:
    """These workers do nothing, so that others do."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T") for pid in pids))
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Connection:
    """One that is kept open, to the worker that accepted it."""

    def __init__(self, server: RunningServer) -> None:
        address = urlsplit(server.base_url)
        assert address.hostname
        self._path = urlsplit(server.endpoint()).path
        self._http = http.client.HTTPConnection(address.hostname, address.port, timeout=SECONDS_TO_STOP)

    def ask(self, key: str, tool: str = "whoami", **arguments: object) -> tuple[int, dict[str, str]]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = {"X-API-Key": key, "Accept": "application/json", "Content-Type": "application/json"}
        self._http.request("POST", self._path, json.dumps(body), headers)
        answer = self._http.getresponse()
        said = json.loads(answer.read())
        return answer.status, said.get("result", {}).get("structuredContent", {})

    def close(self) -> None:
        self._http.close()


def test_a_revocation_through_one_worker_holds_for_the_next_request_to_each(database: Database) -> None:
    with running_server(database, *TWO, **INLINE) as server:
        workers = children(server.process.pid)
        assert len(workers) == 2
        connections = []
        for others in (workers[:1], workers[1:]):
            with held(*others):  # so each of them serves
                connections.append(Connection(server))
                assert connections[-1].ask(server.first_key)[0] == 200
        for revoking in connections:
            _, made = revoking.ask(server.first_key, "create_key", name="x")
            assert [each.ask(made["key"])[0] for each in connections] == [200, 200]
            assert revoking.ask(server.first_key, "revoke_key", key_id=made["key_id"])[0] == 200
            assert [each.ask(made["key"])[0] for each in connections] == [401, 401]
        for connection in connections:
            connection.close()
        assert server.printed.count("shown this once") == 1
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", ["the keeper", "all of them"])
def test_a_stop_ends_all_of_them_in_order(database: Database, how: signal.Signals, at: str) -> None:
    with running_server(database, *TWO) as server:
        workers = children(server.process.pid)
        with closing(Connection(server)) as connection:
            assert connection.ask(server.first_key)[0] == 200
            server.process.send_signal(how)
            if at == "all of them":  # as a terminal does
                for worker in workers:
                    os.kill(worker, how)
            assert server.process.wait(SECONDS_TO_STOP) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        assert "Traceback" not in server.log.read_text()
    assert database.files() == database.files_at_rest()


def test_a_stop_while_they_start_is_obeyed_in_order(database: Database) -> None:
    command = [*PROGRAM, "serve", "--database", str(database), "--port", "0", *TWO]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as keeper:
        until(lambda: len(children(keeper.pid)) > 0)
        workers = children(keeper.pid)
        keeper.send_signal(signal.SIGTERM)
        _, said = keeper.communicate(timeout=SECONDS_TO_STOP)
    assert (keeper.returncode, said) == (0, b"")
    assert not any(is_running(pid) for pid in workers)


def test_a_worker_that_is_killed_is_replaced(database: Database) -> None:
    with running_server(database, *TWO) as server:
        before = children(server.process.pid)
        killed, stays = before
        os.kill(killed, signal.SIGKILL)
        said = f"a worker ended: pid={killed} code=-9; another one starts in 0 s"
        until(partial(is_logged, server, said))
        with closing(Connection(server)) as connection:
            assert connection.ask(server.first_key)[0] == 200
        until(lambda: len(children(server.process.pid)) == 2)
        with held(stays), closing(Connection(server)) as connection:
            assert connection.ask(server.first_key)[0] == 200
        assert server.stop() == 0


def test_a_worker_that_dies_again_at_once_is_waited_for_longer(database: Database) -> None:
    with running_server(database, *TWO) as server:
        stays, *_ = children(server.process.pid)
        for pause in (0, 1, 2):
            until(lambda: len(children(server.process.pid)) == 2)
            (dies,) = set(children(server.process.pid)) - {stays}
            os.kill(dies, signal.SIGKILL)
            said = f"pid={dies} code=-9; another one starts in {pause} s"
            until(partial(is_logged, server, said))
        assert server.stop() == 0


def test_workers_do_not_outlive_their_keeper(database: Database) -> None:
    with running_server(database, *TWO) as server:
        workers = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        until(lambda: not any(is_running(pid) for pid in workers))


def is_logged(server: RunningServer, line: str) -> bool:
    return line in server.log.read_text()


def is_running(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_worker_that_does_not_stop_is_killed_and_that_is_said(database: Database) -> None:
    with running_server(database, *TWO) as server:
        one, _ = children(server.process.pid)
        with held(one):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(SECONDS_TO_STOP) == 1
            until(lambda: not is_running(one))
        assert "not all of its workers ended in order" in server.log.read_text()


def test_a_taken_port_is_a_sentence_once(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--workers", "2", "--port", str(taken.getsockname()[1]), "--database", str(database))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_a_system_that_has_no_process_left_is_asked_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        os.kill(os.getpid(), signal.SIGTERM)  # held back until the fork is over
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    announced: list[str] = []
    assert keep_workers(1, lambda: announced.append("ready")) is None
    assert caplog.messages == ["no worker can be started: Resource temporarily unavailable; tried again in 30 s"]
    assert announced == []


def test_without_fork_there_is_one_worker(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    result = CliRunner().invoke(program, ["serve", "--workers", "2", "--database", str(database)])
    assert "there can be only 1" in str(result.exception)
    assert not database.is_there()


def test_threads_that_are_about_to_end_are_waited_for() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    go.set()
    wait_for_other_threads()
    assert not thread.is_alive()
