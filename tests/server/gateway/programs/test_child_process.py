import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.memory import MemoryObjectSendStream
from mcp import Client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCResponse

from mcp_keys_server.server.gateway.programs.child_family import ProcessTable
from mcp_keys_server.server.gateway.programs.child_process import spawned
from tests.server.gateway.programs.child_programs import (
    ECHO,
    SILENT,
    STUBBORN,
    is_running,
    pids_in,
    program,
    put_down,
    python,
    request,
    root_only,
    until,
)

pytestmark = pytest.mark.anyio

UID = 61_184
Outgoing = MemoryObjectSendStream[SessionMessage]
A_SERVER = """
from mcp.server import MCPServer
server = MCPServer("greeter")

@server.tool()
def greet(name: str) -> str:
    return f"Hello, {name}"

server.run()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where other users may come, which is not so of the folders that pytest makes."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


async def test_a_server_of_the_sdk_is_called_and_stopped(tmp_path: Path) -> None:
    spawn = program((sys.executable, "-c", A_SERVER), tmp_path)
    async with spawned(spawn) as child:
        async with Client(child) as client:
            answer = await client.call_tool("greet", {"name": "Ada"})
            assert answer.structured_content == {"result": "Hello, Ada"}
        assert await child.ended() == "it ended with exit code 0"
    assert not is_running(child.pid)


async def test_messages_come_back_in_order_and_whole(tmp_path: Path) -> None:
    async with spawned(python(ECHO, tmp_path)) as child, child as (incoming, outgoing):
        for number, size in enumerate((0, 1_000_000, 10)):
            await outgoing.send(request(number, f"m{number}", size))
            message = await incoming.receive()
            assert not isinstance(message, Exception)
            assert message.message == JSONRPCResponse(jsonrpc="2.0", id=number, result={"method": f"m{number}"})


async def test_its_environment_and_folder_are_those_that_were_given_and_its_files_are_private(tmp_path: Path) -> None:
    code = "import os; open('seen', 'w').write(repr((dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid())))"
    spawn = python(code, tmp_path, environment={"ONLY": "this"})
    async with spawned(spawn) as child:
        assert await child.ended() == "it ended with exit code 0"
    environment, folder, leads = eval((tmp_path / "seen").read_text())  # noqa: S307 - of our own program
    environment.pop("LC_CTYPE", None)  # Python's own
    assert (environment, folder, leads) == ({"ONLY": "this"}, str(tmp_path), True)
    assert (tmp_path / "seen").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit(3)", "it ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed by signal 9"),
        ("print('x' * 2_000_000)", "it wrote a line longer than 1 MiB"),
    ],
)
async def test_it_says_why_it_ended_and_the_session_sees_its_end(tmp_path: Path, code: str, why: str) -> None:
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path, largest_line=1024 * 1024)) as child, child as (incoming, _):
            assert [message async for message in incoming] == []
            assert await child.ended() == why


async def test_what_it_said_last_is_heard(tmp_path: Path) -> None:
    code = 'print(\'{"jsonrpc": "2.0", "method": "last"}\'); raise SystemExit(1)'
    async with spawned(python(code, tmp_path)) as child, child as (incoming, _):
        assert await child.ended() == "it ended with exit code 1"
        message = await incoming.receive()
        assert not isinstance(message, Exception)
        assert message.message == JSONRPCNotification(jsonrpc="2.0", method="last")
        with pytest.raises(anyio.EndOfStream):
            await incoming.receive()


async def test_a_gigabyte_without_a_newline_costs_a_few_megabytes(tmp_path: Path) -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 1_000_000)"
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before = peak_memory()
    async with spawned(python(code, tmp_path)) as child:
        assert await child.ended() == "it wrote a line longer than 4 MiB"
    assert peak_memory() - before < 64 * 1024


async def flood(outgoing: Outgoing) -> None:
    while True:
        await outgoing.send(request())


def peak_memory() -> int:
    """Of this process, in kilobytes."""
    return next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )


async def test_what_obeys_only_the_end_of_its_input_ends_in_peace(tmp_path: Path) -> None:
    async with spawned(python(SILENT, tmp_path)) as child:
        pass
    assert await child.ended() == "it ended with exit code 0"


async def test_what_ignores_every_request_to_stop_is_killed(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with spawned(python(STUBBORN, tmp_path)) as child, child as (incoming, _):
            await incoming.receive()
    assert await child.ended() == "it was stopped"
    assert not is_running(child.pid)


async def test_a_cancelled_block_leaves_nothing_running(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with spawned(python(STUBBORN, tmp_path)) as child, child as (incoming, _):
            await incoming.receive()
            scope.cancel()
            await anyio.sleep_forever()
    assert not is_running(child.pid)


async def test_a_child_that_does_not_read_keeps_only_its_own_writer_waiting(tmp_path: Path) -> None:
    # Nothing is read of its input, not even at its end, which it obeys.
    code = "import select; poll = select.poll(); poll.register(0, 0); poll.poll(); raise SystemExit(5)"
    async with spawned(python(code, tmp_path)) as child, child as (_, outgoing):
        await outgoing.send(request(size=1_000_000))
        with anyio.move_on_after(0.1) as waiting:
            await outgoing.send(request())
        assert waiting.cancelled_caught
    assert await child.ended() == "it ended with exit code 5"


async def test_a_child_that_closes_its_input_ends_the_connection(tmp_path: Path) -> None:
    code = "import os, time; os.close(0); time.sleep(1000)"
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path)) as child, child as (incoming, outgoing):
            with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
                await flood(outgoing)
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()


async def test_what_it_started_and_left_holding_its_pipes_ends_with_it(tmp_path: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setpgid(0, 0)
    open('pids', 'w').write(f'{os.getpid()}\\n')
    time.sleep(1000)
while not os.path.exists('pids'): time.sleep(0.01)
"""
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path)) as child, child as (incoming, _):
            assert [message async for message in incoming] == []
            assert await child.ended() == "it ended with exit code 0"
            (other,) = await pids_in(tmp_path / "pids")
            assert not is_running(other)


async def test_what_forks_and_ends_all_the_time_ends_with_it(tmp_path: Path) -> None:
    # Each lives for an instant: it starts the next one, which says so, and ends.
    code = """
import os, time
if os.fork() == 0:
    beats = os.open('beats', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        if os.fork(): os._exit(0)
        os.write(beats, b'.')
while not os.path.exists('beats'): time.sleep(0.01)
"""
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path)) as child:
            assert await child.ended() == "it ended with exit code 0"
        size = (tmp_path / "beats").stat().st_size
        await anyio.sleep(0.1)
        assert (tmp_path / "beats").stat().st_size == size


async def test_what_left_its_session_keeps_nobody_waiting_for_its_pipes(tmp_path: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    open('pids', 'w').write(f'{os.getpid()}\\n')
    time.sleep(1000)
while not os.path.exists('pids'): time.sleep(0.01)
"""
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path)) as child, child as (incoming, _):
            assert [message async for message in incoming] == []
    put_down(await pids_in(tmp_path / "pids"))


@root_only
async def test_what_left_its_session_ends_too_when_its_user_is_its_own(open_folder: Path) -> None:
    os.chown(open_folder, UID, UID)
    script = "setsid sh -c 'echo $$ >> pids; sleep 1000' & setsid sh -c 'echo $$ >> pids; sleep 1000' & cat"
    with anyio.fail_after(20):
        async with spawned(program(("sh", "-c", script), open_folder, uid=UID)) as child:
            others = await pids_in(open_folder / "pids", 2)
            assert all(is_running(pid) for pid in others)
        assert not any(is_running(pid) for pid in (child.pid, *others))


@root_only
async def test_the_end_of_one_that_shares_its_user_is_not_the_end_of_the_others(open_folder: Path) -> None:
    """``upstreams check --user`` beside the process of that user."""
    with anyio.fail_after(20):
        async with spawned(program(("cat",), open_folder, uid=UID)) as child:
            async with spawned(program(("cat",), open_folder, uid=UID, shares_uid=True)) as other:
                pass
            assert is_running(child.pid)
            assert not is_running(other.pid)


@root_only
async def test_what_left_its_session_counts_too_when_its_user_is_its_own(open_folder: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do setsid sleep 1000 & done; cat"
    with anyio.fail_after(20):
        async with spawned(program(("sh", "-c", script), open_folder, uid=UID, most_processes=10)) as child:
            assert await child.ended() == "it started more than 10 processes"


@root_only
async def test_what_forks_and_ends_all_the_time_is_caught_when_its_user_is_its_own(open_folder: Path) -> None:
    os.chown(open_folder, UID, UID)
    # Each lives for an instant, in a session of its own: it starts the next one, says so, and ends.
    hop = open_folder / "hop"
    hop.write_text("#!/bin/sh\necho $$ >> pids\nsetsid /bin/sh ./hop &\n")
    hop.chmod(0o755)
    with anyio.fail_after(30):
        async with spawned(program(("sh", "-c", "setsid ./hop & cat"), open_folder, uid=UID)):
            await pids_in(open_folder / "pids", 20)
        size = (open_folder / "pids").stat().st_size
        await anyio.sleep(0.1)
        assert (open_folder / "pids").stat().st_size == size
        assert not [each for each in await ProcessTable().now() if each.uid == UID and not each.is_dead]


@root_only
async def test_as_a_user_of_its_own_it_reads_nothing_of_ours_or_another_s(tmp_path: Path, open_folder: Path) -> None:
    ours = open_folder / "ours"
    ours.write_text("secret")
    ours.chmod(0o600)
    for number in (1, 2):
        folder = open_folder / str(number)
        folder.mkdir(mode=0o700)
        os.chown(folder, UID + number, UID + number)
    (open_folder / "2" / "notes").write_text("private")
    script = "id -u; id -g; id -G; cat ../ours; cat ../2/notes; ls ../2; echo written > mine; cat mine"
    spawn = program(("sh", "-c", f"({script}) > seen 2>&1"), open_folder / "1", uid=UID + 1)
    groups = os.getgroups()
    os.setgroups([*groups, UID])  # which it is not to have of us
    try:
        async with spawned(spawn) as child:
            await child.ended()
    finally:
        os.setgroups(groups)
    seen = (open_folder / "1" / "seen").read_text()
    assert seen.splitlines()[:3] == [str(UID + 1)] * 3
    assert seen.lower().count("permission denied") == 3
    assert "secret" not in seen
    assert "private" not in seen
    assert seen.endswith("written\n")
    assert not list(tmp_path.iterdir())


async def test_more_memory_than_it_may_use_ends_it(tmp_path: Path) -> None:
    code = "import time; held = b'x' * 200_000_000; time.sleep(1000)"
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path, memory_bytes=100 * 1024 * 1024)) as child:
            assert await child.ended() == "it used more than 100 MB of memory"


async def test_memory_is_counted_for_all_that_it_started(tmp_path: Path) -> None:
    code = "import os, time; os.fork(); os.fork(); held = b'x' * 50_000_000; time.sleep(1000)"
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path, memory_bytes=150 * 1024 * 1024)) as child:
            assert await child.ended() == "it used more than 150 MB of memory"


async def test_more_processes_than_it_may_start_end_it_and_all_of_them(tmp_path: Path) -> None:
    code = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.write(os.open('pids', os.O_WRONLY | os.O_CREAT | os.O_APPEND), f'{os.getpid()}\\n'.encode())
        time.sleep(1000)
time.sleep(1000)
"""
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path, most_processes=10)) as child:
            assert await child.ended() == "it started more than 10 processes"
            others = await pids_in(tmp_path / "pids", 20)
            assert not any(is_running(pid) for pid in others)


async def test_many_watched_by_one_table_are_each_judged_alone(tmp_path: Path) -> None:
    table = ProcessTable()
    hog = python("import time; held = b'x' * 200_000_000; time.sleep(1000)", tmp_path, memory_bytes=100 * 1024 * 1024)
    modest = python(SILENT, tmp_path, memory_bytes=100 * 1024 * 1024)
    with anyio.fail_after(20):
        async with spawned(hog, table) as first, spawned(modest, table) as second:
            assert await first.ended() == "it used more than 100 MB of memory"
            assert is_running(second.pid)
    assert await second.ended() == "it ended with exit code 0"


async def test_without_a_handle_to_spare_its_end_is_seen_all_the_same(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with spawned(python(SILENT, tmp_path)) as child:
        # The lowest number that is free: nothing can be opened from here on.
        probe = os.open("/", os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, before[1]))
        try:
            with anyio.fail_after(20):
                async with child:
                    await anyio.lowlevel.checkpoint()
                assert await child.ended() == "it ended with exit code 0"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_failure_in_the_block_stops_it_and_is_told(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError)):
        async with spawned(python(SILENT, tmp_path)) as child:
            raise ZeroDivisionError
    await until(lambda: not is_running(child.pid))
