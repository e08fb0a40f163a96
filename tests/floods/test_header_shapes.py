import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from mcp_keys_server.auth import guard
from mcp_keys_server.auth.credential import CARRIERS
from tests.conftest import KEY
from tests.floods.header_shapes import SHAPES, requests
from tests.floods.raw_http import OURS, answers, embedded, our_server, status
from tests.world import World

pytestmark = pytest.mark.anyio

EACH = 12
"""The long form sends many more."""
Server = Callable[[World], AbstractAsyncContextManager[int]]


@pytest.mark.parametrize("server", [our_server, embedded])
async def test_no_shape_of_headers_is_more_than_it_should_be(
    sqlite_world: World, bcrypt_calls: list[str], caplog: pytest.LogCaptureFixture, server: Server
) -> None:
    _, key = await sqlite_world.key()
    async with server(sqlite_world) as port:
        (good,) = await answers(port, requests(SHAPES["a good key"], key, 1, path=OURS))
        assert status(good) == 200
        bcrypt_calls.clear()
        for name, shape in SHAPES.items():
            for got in await answers(port, requests(shape, key, EACH, path=OURS)):
                assert (status(got) == 200) == shape.opens, (name, got)
                assert status(got) is None or status(got) in {200, 400, 401, 403, 431}, (name, got)
                assert not KEY.search(got.decode("latin-1")), name
        (good,) = await answers(port, requests(SHAPES["a good key"], key, 1, path=OURS))
        assert status(good) == 200
    assert bcrypt_calls == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


async def test_a_guard_that_picks_one_of_two_keys_is_found_out(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(headers: list[tuple[bytes, bytes]]) -> str:
        values = [value for name, value in headers if name in CARRIERS]
        return values[0].removeprefix(b"Bearer ").decode("latin-1") if values else ""

    monkeypatch.setattr(guard, "presented_key", first)
    _, key = await sqlite_world.key()
    async with our_server(sqlite_world) as port:
        got = await answers(port, requests(SHAPES["the key twice"], key, EACH, path=OURS))
    assert {status(each) for each in got} == {200}
