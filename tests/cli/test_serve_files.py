"""``serve`` where more connections come than it may have files."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from mcp_keys_server.server import file_limit
from mcp_keys_server.server.file_limit import MOST_FILES, SPARE_FILES, raise_file_limit
from tests.cli.test_serve import ask
from tests.databases import SqliteDatabase
from tests.running_server import ADA, RunningServer, running_server

pytestmark = pytest.mark.long

FILES = resource.RLIMIT_NOFILE
FEW = 160
SAID = "connections are closed at once"


@pytest.fixture
def hard() -> Iterator[int]:
    """The hard limit; what is done to the soft one is undone."""
    soft, hard = resource.getrlimit(FILES)
    yield hard
    resource.setrlimit(FILES, (soft, hard))


def silent(server: RunningServer, number: int, connections: ExitStack) -> list[socket.socket]:
    """So many that send nothing."""
    address = urlsplit(server.base_url)
    assert address.hostname
    assert address.port
    to = address.hostname, address.port
    return [connections.enter_context(socket.create_connection(to)) for _ in range(number)]


def until_closed(connections: list[socket.socket], number: int) -> None:
    """Until the server has closed so many of them."""
    closed: set[int] = set()
    poll = select.poll()
    for each in connections:
        poll.register(each, select.POLLIN)
    while len(closed) < number:
        events = poll.poll(60_000)
        assert events, f"{len(closed)} were closed"
        for one, _ in events:
            closed.add(one)
            poll.unregister(one)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_may_open_as_many_files_as_the_system_lets_it(
    sqlite_database: SqliteDatabase, hard: int, workers: str
) -> None:
    resource.setrlimit(FILES, (FEW, hard))
    with running_server(sqlite_database, "--workers", workers, *ADA) as server, ExitStack() as connections:
        assert resource.prlimit(server.process.pid, FILES) == (min(hard, MOST_FILES), hard)
        resource.setrlimit(FILES, (min(hard, 4 * FEW), hard))
        silent(server, 2 * FEW, connections)
        assert ask(server, server.first_key).status_code == 200
        assert SAID not in server.log.read_text()


def test_connections_leave_files_for_all_else_and_are_logged_once(sqlite_database: SqliteDatabase) -> None:
    with running_server(sqlite_database, *ADA) as server, ExitStack() as stack:
        resource.prlimit(server.process.pid, FILES, (FEW, FEW))
        connections = silent(server, 2 * FEW, stack)
        until_closed(connections, FEW + SPARE_FILES)
        stack.close()
        while True:  # until it has seen that they are gone
            try:
                assert ask(server, server.first_key).status_code == 200
                break
            except OSError:
                pass
        assert server.stop() == 0
        said = [line for line in server.log.read_text().splitlines() if "refused" not in line]
        assert len(said) == 1
        assert f"{SAID}: nearly all of {FEW} files" in said[0]


def test_more_files_than_anybody_needs_are_not_asked_for(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resource.setrlimit(FILES, (FEW, hard))
    monkeypatch.setattr(file_limit, "MOST_FILES", 2 * FEW)
    raise_file_limit()
    assert resource.getrlimit(FILES) == (2 * FEW, hard)
    monkeypatch.setattr(file_limit, "MOST_FILES", FEW)
    raise_file_limit()
    assert resource.getrlimit(FILES) == (2 * FEW, hard)
