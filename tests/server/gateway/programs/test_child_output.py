import logging
import os
import tracemalloc
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server.server.gateway.programs.child_output import (
    Lines,
    LineTooLongError,
    Pace,
    ShownLines,
    read_some,
    shown,
)
from mcp_keys_server.server.gateway.programs.child_process import spawned
from tests.mints import mint_of
from tests.server.gateway.programs.child_programs import SILENT, python, until

pytestmark = pytest.mark.anyio

LOGGER = "mcp_keys_server.server.gateway.programs.child_output"


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@given(st.lists(st.binary(max_size=20)), st.integers(1, 50))
def test_lines_are_the_same_however_they_are_cut_into_chunks(parts: list[bytes], size: int) -> None:
    whole = b"".join(parts)
    lines = Lines(1000)
    chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert [line for chunk in chunks for line in lines.ended_by(chunk)] == whole.split(b"\n")[:-1]


def test_a_line_may_be_as_long_as_the_longest_and_no_longer() -> None:
    assert list(Lines(5).ended_by(b"12345\n12345\n12345")) == [b"12345", b"12345"]
    for chunk in (b"123456", b"123456\n", b"1\n123456\n"):
        with pytest.raises(LineTooLongError):
            list(Lines(5).ended_by(chunk))
    lines = Lines(5)
    assert list(lines.ended_by(b"123")) == []
    with pytest.raises(LineTooLongError):
        list(lines.ended_by(b"456"))


def test_a_key_is_never_shown_even_where_the_cut_goes_through_it() -> None:
    key = mint_of(b"secret").mint()
    secret = key.reveal()[12:]
    for before in range(120):
        text = shown(b"." * before + key.reveal().encode(), 100)
        assert len(text) <= 101
        assert not any(secret[start : start + 6] in text for start in range(len(secret) - 6))


def test_what_a_terminal_takes_for_a_command_is_escaped() -> None:
    assert shown(b"\x1b[2J\rred\x00 \xff\r", 100) == "\\x1b[2J\\rred\\x00 \ufffd"


async def test_of_many_lines_a_hundred_are_shown_and_the_rest_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    lines = ShownLines("upstream notes of ada")
    for number in range(9100):
        lines.show(str(number).encode())
    lines.tell_rest()
    lines.tell_rest()
    said = logged(caplog)
    assert said[:100] == [f"upstream notes of ada: {number}" for number in range(100)]
    assert said[100:] == ["upstream notes of ada: … 9000 more lines left out"]


async def test_after_a_while_lines_are_shown_again(caplog: pytest.LogCaptureFixture) -> None:
    lines = ShownLines("it", lines=1, seconds=0.05)
    for text in (b"one", b"two"):
        lines.show(text)
    await anyio.sleep(0.06)
    lines.show(b"three")
    assert logged(caplog) == ["it: one", "it: … 1 more lines left out", "it: three"]


async def test_whoever_asks_for_more_than_the_pace_is_held_back_and_nobody_else() -> None:
    start = anyio.current_time()
    pace = Pace(100)
    for _ in range(120):
        await pace.keep(1)
    assert anyio.current_time() - start >= 0.19  # a hundred in advance, then twenty at a hundred a second


async def test_whoever_reads_what_is_always_there_lets_others_have_their_turn() -> None:
    reader, writer = os.pipe()
    had_its_turn = anyio.Event()

    async def take_turn() -> None:
        had_its_turn.set()

    os.write(writer, b"x")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turn)
        assert await read_some(reader) == b"x"
        assert had_its_turn.is_set()
    os.close(writer)
    assert await read_some(reader) == b""
    os.close(reader)


async def test_messages_come_no_faster_than_the_pace(tmp_path: Path) -> None:
    code = f"import sys; print('{{}}\\n' * 2500, end='', flush=True); {SILENT}".format(
        '{"jsonrpc": "2.0", "method": "up"}'
    )
    start = anyio.current_time()
    with anyio.fail_after(20):
        async with spawned(python(code, tmp_path)) as child, child as (incoming, _):
            for _ in range(2500):
                await incoming.receive()
    assert anyio.current_time() - start >= 1.4  # a thousand in advance, then as many a second


async def test_what_it_says_on_its_standard_error_is_in_the_log_under_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import sys; print('one\\ntwo\\x07\\n' + 'x' * 5000 + '\\nlast', end='', file=sys.stderr)"
    async with spawned(python(code, tmp_path)) as child:
        await child.ended()
        await until(lambda: len(logged(caplog)) == 4)
    assert logged(caplog) == [
        "upstream notes of ada: one",
        "upstream notes of ada: two\\x07",
        "upstream notes of ada: " + "x" * 1000 + "…",
        "upstream notes of ada: last",
    ]
    assert {record.levelno for record in caplog.records if record.name == LOGGER} == {logging.INFO}


async def test_what_is_no_message_is_shown_now_and_then_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
print("Welcome!\\n" * 10 + "[]\\n{}\\n\\n" + '{"jsonrpc": "1.0", "method": "old"}')
print('{"jsonrpc": "2.0", "method": "up"}', flush=True)
import sys; sys.stdin.read()
"""
    async with spawned(python(code, tmp_path)) as child, child as (incoming, _):
        message = await incoming.receive()
        assert not isinstance(message, Exception)
        assert message.message.model_dump()["method"] == "up"
    said = logged(caplog)
    assert said[:5] == ["upstream notes of ada wrote what is no message: Welcome!"] * 5
    assert said[5:] == ["upstream notes of ada wrote what is no message: … 9 more lines left out"]


@pytest.mark.parametrize("pipe", [1, 2])
async def test_a_flood_keeps_nobody_else_waiting_and_is_held_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pipe: int
) -> None:
    code = f"""
import os
while True:
    os.write({pipe}, b"x\\n" * 30_000)
    os.write(os.open("written", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b".")
"""
    flood = tmp_path / "flood"
    flood.mkdir()
    start = anyio.current_time()
    with anyio.fail_after(20):
        async with spawned(python(code, flood)), spawned(python(SILENT, tmp_path)):
            await until(lambda: len(logged(caplog)) >= 5)
            await anyio.sleep(1)
            written = (flood / "written").stat().st_size * 60_000
            seconds = anyio.current_time() - start
    assert written < (seconds + 1.5) * 1024 * 1024  # left alone, it would be hundreds of megabytes
    assert len(logged(caplog)) < 100 * (seconds / 5 + 2)


async def test_of_an_endless_line_on_its_standard_error_only_the_beginning_is_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import os\nfor _ in range(30): os.write(2, b'y' * 100_000)"
    tracemalloc.start()
    try:
        async with spawned(python(code, tmp_path)) as child:
            await child.ended()
            await until(lambda: logged(caplog))
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert logged(caplog) == ["upstream notes of ada: " + "y" * 1000 + "…"]
