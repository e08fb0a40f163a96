"""Programs that mean harm cost their own user an error, and nobody else anything."""

import sys
from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from mcp_keys_server.server.gateway.programs import program_relay
from tests.server.gateway.served import ERAS, served
from tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.long]

HOSTILE = str(Path(__file__).with_name("hostile_program.py"))
MEGABYTE = 1024 * 1024
SENTENCES = {
    "line": "ended during the call",
    "crash": "ended during the call",
    "flood": "no sign of life",
    "errors": "no sign of life",
    "silence": "no sign of life",
    "garbage": "what is no answer",
}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("how", SENTENCES)
async def test_it_is_contained(sqlite_world: World, tmp_path: Path, how: str, mode: str) -> None:
    (_, adas), (_, bobs) = await sqlite_world.key("ada"), await sqlite_world.key("bob")
    upstreams: dict[str, dict[str, object]] = {
        how: {"command": [sys.executable, HOSTILE, how], "call_seconds": 2},
        "good": {"command": [sys.executable, HOSTILE, "good"]},
    }
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(adas, alias=how, mode=mode) as ada,
        running.client(bobs, user="bob", alias="good", mode=mode) as bob,
    ):
        await ada.list_tools()
        await bob.list_tools()
        before, served_meanwhile, over = resident_bytes(), 0, anyio.Event()

        async def suffer() -> None:
            with pytest.raises(MCPError, match=SENTENCES[how]):
                await ada.call_tool("do")
            over.set()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(suffer)
                while not over.is_set() or not served_meanwhile:
                    await bob.call_tool("do")
                    served_meanwhile += 1
        assert resident_bytes() - before < 64 * MEGABYTE


async def test_of_ten_thousand_tools_a_thousand_are_shown(
    sqlite_world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await sqlite_world.key()
    upstreams: dict[str, dict[str, object]] = {"tools": {"command": [sys.executable, HOSTILE, "tools"]}}
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(key, alias="tools") as client,
    ):
        before = resident_bytes()
        assert len((await client.list_tools()).tools) == 1000
        assert resident_bytes() - before < 64 * MEGABYTE
    assert "lists 10000 tools in one answer; only the first 1000 are shown" in caplog.text


@pytest.mark.parametrize(
    ("how", "sentence"), [("no list", "what is no answer"), ("no listing", "did not say in time which tools it has")]
)
async def test_a_call_for_which_the_tools_have_to_be_listed_and_are_not_has_an_answer(
    sqlite_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, sentence: str
) -> None:
    monkeypatch.setattr(program_relay, "SECONDS_TO_LIST", 2.0)
    _, key = await sqlite_world.key()
    upstreams: dict[str, dict[str, object]] = {
        "lies": {"command": [sys.executable, HOSTILE, how], "pin_descriptions": True}
    }
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(key, alias="lies") as client,
    ):
        with pytest.raises(MCPError, match=sentence):
            await client.call_tool("do")


async def test_answers_that_nobody_asked_for_are_passed_over(sqlite_world: World, tmp_path: Path) -> None:
    _, key = await sqlite_world.key()
    upstreams: dict[str, dict[str, object]] = {"others": {"command": [sys.executable, HOSTILE, "others"]}}
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(key, alias="others") as client,
    ):
        assert not (await client.call_tool("do")).is_error


@pytest.mark.parametrize("mode", ERAS)
async def test_a_crash_loop_is_not_a_loop_of_starts(
    sqlite_world: World, tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await sqlite_world.key()
    upstreams: dict[str, dict[str, object]] = {"crash": {"command": [sys.executable, HOSTILE, "crash"]}}
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(key, alias="crash", mode=mode) as client,
    ):
        for _ in range(100):
            with pytest.raises(MCPError):
                await client.call_tool("do")
    assert caplog.text.count("upstream crash of ada runs") < 5


@pytest.mark.parametrize("held_back", [False, True])
async def test_a_tool_that_is_not_what_it_was_is_told_of_and_held_back_if_so_wanted(
    sqlite_world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, held_back: bool
) -> None:
    _, key = await sqlite_world.key()
    upstreams: dict[str, dict[str, object]] = {
        "changes": {"command": [sys.executable, HOSTILE, "changes"], "pin_descriptions": held_back}
    }
    async with (
        served(sqlite_world, tmp_path / "upstreams", upstreams) as running,
        running.client(key, alias="changes") as client,
    ):
        await client.call_tool("do")  # which is looked at first, if it may be held back
        assert len((await client.list_tools()).tools) == (0 if held_back else 1)
        assert "'do' is not what it was when it was first seen" in caplog.text
        if held_back:
            with pytest.raises(MCPError, match="no tool of this name"):
                await client.call_tool("do")
        else:
            await client.list_tools()
            await client.call_tool("do")
