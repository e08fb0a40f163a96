import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_keys_server.server.gateway.programs.child_process import ChildNotStartedError, Spawn, spawned
from tests.server.gateway.programs.child_programs import SILENT, program, python, root_only

pytestmark = pytest.mark.anyio


async def failure_of(spawn: Spawn) -> str:
    with pytest.raises(ChildNotStartedError) as failure:
        async with spawned(spawn):
            pass
    assert "hunter2" not in str(failure.value)
    return str(failure.value)


async def test_a_program_that_is_not_there_is_named_without_its_arguments(tmp_path: Path) -> None:
    for name in ("no-such-program", "/no/such/program"):
        said = await failure_of(program((name, "--password", "hunter2"), tmp_path))
        assert said.startswith(f"the program '{Path(name).name}', or what runs it, was not found")


async def test_the_path_is_that_of_its_own_environment(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "mine").chmod(0o700)
    await failure_of(program(("mine",), tmp_path))
    async with spawned(program(("mine",), tmp_path, environment={"PATH": str(tmp_path)})) as child:
        assert await child.ended() == "it ended with exit code 7"


async def test_a_file_that_nobody_may_run_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "data").touch(mode=0o600)
    said = await failure_of(program((str(tmp_path / "data"), "hunter2"), tmp_path))
    assert said.startswith("the program 'data', or what runs it, may not be run as this server")


@root_only
async def test_a_program_in_a_folder_closed_to_its_user_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    tmp_path.chmod(0o700)
    said = await failure_of(program((str(tmp_path / "mine"),), tmp_path, uid=61_184))
    assert said.startswith("the program 'mine', or what runs it, may not be run as uid 61184")


async def test_a_folder_that_is_gone_and_what_is_no_program_and_no_text_are_told_so(tmp_path: Path) -> None:
    assert "its working folder is not there" in await failure_of(program(("cat",), tmp_path / "gone"))
    (tmp_path / "data").write_bytes(b"\0\1\2")
    (tmp_path / "data").chmod(0o700)
    assert await failure_of(program((str(tmp_path / "data"),), tmp_path)) == (
        "the program 'data' was not started: Exec format error"
    )
    assert "null" in await failure_of(program(("cat", "hunter2\0"), tmp_path))


async def test_printing_what_is_to_be_run_shows_no_argument_and_no_variable(tmp_path: Path) -> None:
    spawn = program(("cat", "hunter2"), tmp_path, environment={"PASSWORD": "hunter2"})
    assert "hunter2" not in repr(spawn)


def limits_of(pid: int) -> dict[str, list[str]]:
    """The soft and the hard limit by name, for whoever the process runs as."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:25].strip(): line[25:].split()[:2] for line in lines}


@pytest.fixture
def core_files() -> Iterator[bool]:
    """Whether this process would leave one, as it is let where that can be."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield before[1] != 0
    resource.setrlimit(resource.RLIMIT_CORE, before)


async def test_it_leaves_no_core_file_and_has_a_fence_against_sudden_growth(
    tmp_path: Path, *, core_files: bool
) -> None:
    ours = {which: resource.getrlimit(which) for which in (resource.RLIMIT_CORE, resource.RLIMIT_DATA)}
    async with spawned(python(SILENT, tmp_path)) as child:
        limits = limits_of(child.pid)
        assert limits["Max core file size"] == ["1" if core_files else "0"] * 2
        assert limits["Max data size"] == [str(4 * 1024**3)] * 2
        assert limits["Max processes"] == limits_of(os.getpid())["Max processes"]
    assert {which: resource.getrlimit(which) for which in ours} == ours


@root_only
async def test_a_user_of_its_own_has_a_fence_against_endless_forks(tmp_path: Path) -> None:
    async with spawned(program(("cat",), tmp_path, uid=61_184, most_processes=10)) as child:
        limits = limits_of(child.pid)
        assert limits["Max processes"][0] == "160"
        assert limits["Max core file size"][0] in {"0", "1"}


async def test_a_limit_that_is_lower_already_stays(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (3 * 1024**3, before[1]))
    try:
        async with spawned(python(SILENT, tmp_path)) as child:
            assert limits_of(child.pid)["Max data size"] == [str(3 * 1024**3)] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


async def test_node_runs_within_the_limits_of_the_smallest_memory(tmp_path: Path) -> None:
    code = (
        "new WebAssembly.Memory({initial: 1, maximum: 1000}); new (require('worker_threads').Worker)('1', {eval: true})"
    )
    spawn = program(("node", "-e", code), tmp_path, memory_bytes=16 * 1024**2, environment={"PATH": os.environ["PATH"]})
    try:
        async with spawned(spawn) as child:
            assert await child.ended() in ("it ended with exit code 0", "it used more than 16 MB of memory")
    except ChildNotStartedError:
        pytest.skip("there is no Node")
