import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcp_keys_server.stores.sql.database import Writes

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fails", [False, True])
async def test_a_write_whose_caller_has_gone_goes_on_and_is_forgotten_whatever_becomes_of_it(
    caplog: pytest.LogCaptureFixture, *, fails: bool
) -> None:
    writes, begun, go_on, ended = Writes(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await go_on.wait()
        ended.set()
        if fails:
            raise ZeroDivisionError

    asked = asyncio.create_task(writes.run(write()))
    await begun.wait()
    asked.cancel()
    await asyncio.wait([asked])
    go_on.set()
    await ended.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not writes._running
    gc.collect()  # which is when asyncio tells of an error that nobody has looked at
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_whoever_closes_waits_for_the_writes_that_have_begun() -> None:
    writes, go_on, ended = Writes(), asyncio.Event(), list[str]()

    async def write() -> None:
        await go_on.wait()
        ended.append("a write")

    async def close() -> None:
        await writes.finish()
        ended.append("the database")

    writing, closing = asyncio.create_task(writes.run(write())), asyncio.create_task(close())
    for _ in range(5):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(writing, closing)
    assert ended == ["a write", "the database"]


async def test_who_watches_is_told_of_changes_of_this_process_and_of_others() -> None:
    told = list[str]()

    class Watcher:
        @contextmanager
        def changing(self) -> Iterator[None]:
            told.append("changing")
            yield
            told.append("changed")

        def look_soon(self) -> None:
            told.append("look soon")

    writes = Writes()
    writes.hear_of_others()
    with writes.changing():
        assert told == []
    writes.watch(Watcher())
    writes.hear_of_others()
    with writes.changing():
        assert told == ["look soon", "changing"]
    assert told == ["look soon", "changing", "changed"]
