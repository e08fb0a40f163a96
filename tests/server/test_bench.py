"""The parts with which a machine is measured, where they meet trouble."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.server.bench import bcrypt_costs
from mcp_keys_server.server.bench.bcrypt_costs import measure_costs
from mcp_keys_server.server.bench.load import LoadError, run_load
from mcp_keys_server.server.bench.load_generator import Job
from mcp_keys_server.server.bench.looked_up import LookedUp, looked_up
from mcp_keys_server.server.bench.served_calls import for_measuring, measure_calls
from mcp_keys_server.server.bench.throw_away import ThrowAway, throw_away
from mcp_keys_server.server.bench.warm_verification import measure_verification
from mcp_keys_server.settings import Settings
from tests.databases import Database
from tests.running_server import SECONDS_TO_STOP
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_verification_can_be_stopped_at_any_time(sqlite_world: World) -> None:
    there = await looked_up(sqlite_world.ring.store)
    async with throw_away(1) as other:
        with anyio.move_on_after(0) as scope:
            await measure_verification(there, other, seconds=600)
    assert scope.cancelled_caught


async def test_each_cost_is_measured_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcrypt_costs, "COSTS", range(5, 7))
    told: list[float] = []

    async def measured(seconds: float) -> list[int]:
        return [each.cost for each in await measure_costs(4, seconds, lambda done, _: told.append(done))]

    assert await measured(600) == [4, 5, 6]
    assert told == sorted(told)
    assert await measured(1e-9) == [4]


async def test_only_keys_that_there_are_are_looked_up(world: World) -> None:
    assert (await looked_up(world.ring.store)).prefixes == []
    _, key = await world.key()
    _, another = await world.key("bob")
    there = await looked_up(world.ring.store)
    assert set(there.prefixes) == {key.prefix, another.prefix}


async def test_a_database_that_does_not_answer_is_said(world: World, database: Database) -> None:
    there = await looked_up(world.ring.store)
    async with throw_away(1) as other:
        database.spoil()
        with pytest.raises(StoreUnavailableError):
            await _measure(there, other)


async def test_calls_that_are_not_answered_as_they_should_be_are_not_counted(sqlite_world: World) -> None:
    _, nobodys = await sqlite_world.key()
    async with throw_away(1) as other:
        with pytest.raises(LoadError, match="HTTP/1.1 401"):
            await _measure(await looked_up(sqlite_world.ring.store), ThrowAway(other.ring, {"bench-0": nobodys}))


async def _measure(there: LookedUp, other: ThrowAway) -> None:
    await measure_calls(there, other, Settings(), seconds=1, tell=lambda *_: None)


async def test_what_is_measured_neither_starts_programs_nor_counts_elsewhere() -> None:
    settings = Settings(
        rate_limit_storage="redis://127.0.0.1:1/0",  # type: ignore[arg-type]
        upstreams={"notes": {"command": ["notes"]}},  # type: ignore[dict-item]
        secret_delivery="file",
        calls_per_minute=1,
    )
    made = for_measuring(settings)
    assert (made.upstreams, made.rate_limit_storage, made.secret_delivery) == ({}, None, None)
    assert made.calls_per_minute == 10**9
    assert made.bcrypt_cost == settings.bcrypt_cost


@asynccontextmanager
async def _answering(pieces: Sequence[bytes]) -> AsyncIterator[int]:
    """The port of a server that answers the first request in these pieces, and closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def _job(port: int) -> Job:
    request = "GET / HTTP/1.1\r\n\r\n"
    return Job(port=port, requests=[request], expected="yes", warm_up_seconds=0, seconds=0)


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"


async def test_an_answer_counts_when_it_is_whole() -> None:
    async with _answering([WHOLE]) as port:
        assert (await run_load(_job(port)))["requests_per_second"] > 0


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "the server closed a connection"),
        ([WHOLE[:-4]], "the server closed a connection"),
        ([WHOLE.replace(b"200 OK", b"503 No")], "HTTP/1.1 503 No"),
        ([WHOLE.replace(b"yes", b"noo")], "HTTP/1.1 200 OK"),
    ],
)
async def test_why_there_are_no_figures_is_said(pieces: Sequence[bytes], reason: str) -> None:
    async with _answering(pieces) as port:
        with pytest.raises(LoadError, match=reason):
            await run_load(_job(port))


async def test_a_client_is_not_left_behind() -> None:
    gone = asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        running.cancel()
        with suppress(ConnectionError):
            await reader.read()  # until the client is no more
        gone.set()
        writer.close()

    async with await asyncio.start_server(wait_for_the_end, "127.0.0.1", 0) as server:
        running = asyncio.create_task(run_load(_job(server.sockets[0].getsockname()[1])))
        with pytest.raises(asyncio.CancelledError):
            await running
        with anyio.fail_after(SECONDS_TO_STOP):
            await gone.wait()


@pytest.mark.parametrize(
    ("program", "reason"), [("false", "ended with code 1"), ("nothing of this name", "cannot be started")]
)
async def test_a_client_that_does_not_run_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, reason: str
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false" if program == "false" else str(tmp_path / program))
    with pytest.raises(LoadError, match=reason):
        await run_load(_job(1))


async def test_a_port_on_which_nobody_listens_is_said() -> None:
    async with _answering([]) as port:
        pass
    with pytest.raises(LoadError, match="[Cc]onnect"):
        await run_load(_job(port))
