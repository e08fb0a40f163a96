"""What of a key is in the memory of a server, as whoever gets hold of a core dump finds it.

Python lets nobody overwrite a string. So a key is there while it is used, and after that in memory that was given back,
until something else is put there. Of what was received, two or three copies outlast hundreds of requests, and of a page
that shows a new key, in the forms of all clients, more than ten. But nothing keeps a key, so they become no more.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from tests.databases import SqliteDatabase
from tests.leaks.wrong_places import era, message
from tests.running_server import ADA, PROGRAM, RunningServer, run, running_server

pytestmark = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs the memory of processes as files")

HOARDING = [sys.executable, "-m", "tests.leaks.hoarding_program"]
MANY = {"MCP_KEYS_CALLS_PER_MINUTE": "1000000"}
USES = 120
MOST_COPIES = 60
"""However often it was used. It was five at most when this was written, and 24 with branch coverage."""


def copies(server: RunningServer, key: str) -> int:
    """How often the middle of its secret part stands in what the process may write to."""
    needle, found = key[20:44].encode(), 0
    process = Path(f"/proc/{server.process.pid}")
    with (process / "mem").open("rb") as memory:
        for line in (process / "maps").read_text().splitlines():
            addresses, permissions, *_ = line.split()
            if permissions.startswith("rw"):
                start, end = (int(address, 16) for address in addresses.split("-"))
                try:
                    memory.seek(start)
                    found += memory.read(end - start).count(needle)
                except (OSError, OverflowError, ValueError):
                    continue  # of the kernel's own, or given back meanwhile
    return found


def use(server: RunningServer, key: str, times: int) -> None:
    """Calls of both eras, over a connection of their own."""
    with httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        for number in range(times):
            modern = bool(number % 2)
            body = message("tools/call", modern=modern, name="whoami", arguments={})
            headers = era("tools/call", "whoami", modern=modern)
            assert http.post("/u/ada/keys/mcp", headers=headers, json=body).status_code == 200


def left_of_a_key(folder: Path, program: Sequence[str]) -> tuple[int, int]:
    """Copies of a key just after it was used, and after requests with another one."""
    database = SqliteDatabase(folder / "data" / "keys.db")
    with running_server(database, *ADA, program=program, **MANY) as server:
        made = run("keys", "create", "--user", "ada", "--name", "x", "--json", "--database", str(database))
        key = json.loads(made.stdout)["key"]
        assert copies(server, key) == 0
        use(server, key, USES)
        while_used = copies(server, key)
        use(server, server.first_key, 2 * USES)
        return while_used, copies(server, key)


def test_of_a_key_that_is_used_often_there_are_few_copies_in_memory(tmp_path: Path) -> None:
    while_used, afterwards = left_of_a_key(tmp_path, PROGRAM)
    assert 0 < while_used <= MOST_COPIES
    assert afterwards <= MOST_COPIES


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_crashes_leaves_no_core_file(sqlite_database: SqliteDatabase, workers: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    with running_server(sqlite_database, "--workers", workers, *ADA) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert len(children) == (0 if workers == "1" else int(workers))
        for process in (server.process.pid, *map(int, children)):
            # The one limit at which Linux gives none to a program either.
            assert resource.prlimit(process, resource.RLIMIT_CORE) == (1 if hard else 0, hard)


def test_where_no_limit_may_be_raised_it_stays() -> None:
    none_at_all = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    then = "from mcp_keys_server.server.core_file import write_no_core_file; write_no_core_file()"
    shown = "print(resource.getrlimit(resource.RLIMIT_CORE))"
    done = subprocess.run([sys.executable, "-c", f"{none_at_all}; {then}; {shown}"], capture_output=True, check=True)
    assert done.stdout == b"(0, 0)\n"


def test_a_server_that_keeps_keys_is_found(tmp_path: Path) -> None:
    _, afterwards = left_of_a_key(tmp_path, HOARDING)
    assert afterwards >= USES
