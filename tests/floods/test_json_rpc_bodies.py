import logging

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server.server.gateway.remotes.posted_message import parse_message
from mcp_keys_server.server.gateway.remotes.relay_trouble import TroubleError
from tests.floods.json_rpc_bodies import ERAS, bodies, post_all
from tests.floods.raw_http import UNLIMITED, most_memory
from tests.server.calls import post
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio

EACH = 650
"""The long form sends many more."""
MOST_MEMORY = 100 * 1024
"""KiB, by which this process may grow: less than what any part of the bodies would take if it were kept."""


@pytest.mark.parametrize("era", ERAS, ids=["handshake", "modern"])
async def test_no_body_is_more_than_refused(
    sqlite_world: World, bcrypt_calls: list[str], caplog: pytest.LogCaptureFixture, era: dict[str, str]
) -> None:
    _, key = await sqlite_world.key()
    async with started(sqlite_world, UNLIMITED) as app, client_of(app) as http:
        assert (await post(http, key)).status_code == 200
        bcrypt_calls.clear()
        caplog.clear()
        before = most_memory()
        counted = await post_all(app, key, bodies(EACH), era)
        assert counted[400] > EACH / 4
        assert counted.keys() <= {200, 202, 400, 404, 413}, counted
        assert most_memory() - before < MOST_MEMORY
        assert (await post(http, key)).status_code == 200
    assert bcrypt_calls == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


async def test_a_server_that_breaks_down_over_one_kind_of_body_is_found_out(sqlite_world: World) -> None:
    _, key = await sqlite_world.key()
    async with started(sqlite_world, UNLIMITED) as app:

        async def fragile(scope: Scope, receive: Receive, send: Send) -> None:
            message = await receive()
            if b"\\ud800" in message.get("body", b""):  # half of a letter, which no encoding of text can hold
                await Response(status_code=500)(scope, receive, send)
            else:
                given = iter([message])

                async def again() -> Message:
                    return next(given, None) or await receive()

                await app(scope, again, send)

        assert (await post_all(fragile, key, bodies(EACH // 10), ERAS[0]))[500] > 0


def test_what_is_relayed_to_other_servers_is_one_message_or_nothing() -> None:
    for body in bodies(3 * EACH):
        try:
            relayed = parse_message(body)
        except TroubleError:
            continue
        assert parse_message(relayed.text.encode()) == relayed
