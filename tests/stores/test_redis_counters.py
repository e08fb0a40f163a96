import asyncio
import sys
from pathlib import Path

import anyio
import pytest
import redis.asyncio

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores import redis_counters
from mcp_keys_server.stores.opening import open_counters
from mcp_keys_server.stores.redis_counters import PREFIX
from mcp_keys_server.stores.redis_url import RedisUrl
from tests.stores.redis_server import needs_redis_server, redis_server

pytestmark = pytest.mark.anyio


class Otherwise:
    """What counts without Redis: here, it notes that it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def take(self, name: str, most: int, seconds: int) -> int:
        del most, seconds
        self.asked.append(name)
        return 0


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is about counting: a busy machine may take its time."""
    monkeypatch.setattr(redis_counters, "SECONDS_TO_ANSWER", 20)


@pytest.fixture
def otherwise() -> Otherwise:
    return Otherwise()


@pytest.mark.usefixtures("unhurried")
@needs_redis_server
async def test_several_processes_count_together_to_the_last(tmp_path: Path, otherwise: Otherwise) -> None:
    with redis_server(tmp_path) as server:
        url = RedisUrl(f"redis://127.0.0.1:{server.port}/3")
        async with open_counters(url, otherwise) as one, open_counters(url, otherwise) as other:
            assert await asyncio.gather(*(each.take("a", 100, 60) for each in (one, other) * 50)) == [0] * 100
            for each in (one, other):
                assert 0 < await each.take("a", 100, 60) <= 60
    assert otherwise.asked == []


@pytest.mark.usefixtures("unhurried")
@needs_redis_server
async def test_a_window_ends_and_nothing_of_it_is_left(tmp_path: Path, otherwise: Otherwise) -> None:
    with redis_server(tmp_path) as server:
        url = f"redis://127.0.0.1:{server.port}"
        async with open_counters(RedisUrl(url), otherwise) as counters, redis.asyncio.from_url(url) as client:
            assert [await counters.take("a", 1, 1), await counters.take("a", 1, 1)] == [0, 1]
            with anyio.fail_after(10):
                while await client.keys(f"*{PREFIX}*"):
                    await anyio.sleep(0.05)
            assert await counters.take("a", 1, 1) == 0


async def test_without_a_url_the_others_count(otherwise: Otherwise) -> None:
    async with open_counters(None, otherwise) as counters:
        assert counters is otherwise


@pytest.mark.usefixtures("unhurried")
@needs_redis_server
async def test_without_it_others_count_and_with_it_it_counts_again(
    tmp_path: Path, otherwise: Otherwise, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_counters, "SECONDS_BETWEEN_TRIES", 0)
    with redis_server(tmp_path) as server:
        url = RedisUrl(f"redis://127.0.0.1:{server.port}")
        async with open_counters(url, otherwise) as counters:
            assert [await counters.take("a", 2, 60) for _ in range(2)] == [0, 0]
            server.kill()
            caplog.clear()
            for name in ("b", "c", "d"):
                assert await counters.take(name, 2, 60) == 0
            assert otherwise.asked == ["b", "c", "d"]
            server.start()
            assert [await counters.take("e", 1, 60) for _ in range(2)] == [0, 60]
            assert otherwise.asked == ["b", "c", "d"]
    told = [record.getMessage() for record in caplog.records if record.name == redis_counters.__name__]
    assert len(told) == 2
    assert told[0].startswith(f"limits are not counted in {url} until it answers: Error 111 connecting to ")
    assert told[1] == f"{url} answers again"


@pytest.mark.usefixtures("unhurried")
@needs_redis_server
async def test_a_server_that_has_started_again_has_lost_nothing_that_is_needed(
    tmp_path: Path, otherwise: Otherwise
) -> None:
    with redis_server(tmp_path) as server:
        async with open_counters(RedisUrl(f"redis://127.0.0.1:{server.port}"), otherwise) as counters:
            assert await counters.take("a", 1, 60) == 0
            server.kill()
            server.start()
            assert [await counters.take("a", 1, 60) for _ in range(2)] == [0, 60]
    assert otherwise.asked == []


async def test_nobody_waits_long_for_one_that_says_nothing(
    otherwise: Otherwise, caplog: pytest.LogCaptureFixture
) -> None:
    """One try at the start, and none of the requests after it."""
    connections = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        async with open_counters(RedisUrl(f"redis://127.0.0.1:{port}"), otherwise) as counters:
            assert await asyncio.gather(*(counters.take(str(number), 1, 60) for number in range(100))) == [0] * 100
    assert len(otherwise.asked) == 100
    assert connections <= 2
    assert "it took too long" in caplog.text


@pytest.mark.usefixtures("unhurried")
@needs_redis_server
@pytest.mark.parametrize("presented", [":Hunter3@", "ada:Hunter3@", ""])
async def test_a_password_is_in_no_log(
    tmp_path: Path, otherwise: Otherwise, caplog: pytest.LogCaptureFixture, presented: str
) -> None:
    with redis_server(tmp_path, "--requirepass", "Hunter2") as server:
        async with open_counters(RedisUrl(f"redis://{presented}127.0.0.1:{server.port}"), otherwise) as counters:
            await counters.take("a", 1, 60)
        assert otherwise.asked == ["a"]
        assert "AuthenticationError" in caplog.text
        async with open_counters(RedisUrl(f"redis://:Hunter2@127.0.0.1:{server.port}"), otherwise) as counters:
            assert [await counters.take("b", 1, 60) for _ in range(2)] == [0, 60]
    assert "Hunter" not in caplog.text


@needs_redis_server
async def test_a_server_that_quotes_what_it_was_sent_is_not_quoted(
    tmp_path: Path, otherwise: Otherwise, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, "--rename-command", "AUTH", "") as server:
        async with open_counters(RedisUrl(f"redis://:Hunter2@127.0.0.1:{server.port}"), otherwise) as counters:
            await counters.take("a", 1, 60)
    assert otherwise.asked == ["a"]
    assert "until it answers" in caplog.text
    assert "Hunter" not in caplog.text


async def test_without_its_driver_a_sentence_says_what_to_install(
    otherwise: Otherwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp_keys_server.stores.redis_counters", None)
    with pytest.raises(UnusableDatabaseError, match=r"mcp-keys-server\[redis\]"):
        async with open_counters(RedisUrl("redis://localhost"), otherwise):
            pass
