"""A user who takes as much as there is: they come to a bound, and their neighbour is served all the same.

Other bounds of theirs are tested where they are: keys and unclaimed keys in tests/core/test_policy.py, entries of the
ledger in tests/core/test_attempts.py, claims at once in tests/core/test_claims.py, invitations in
tests/core/test_invitations.py, sessions of the pages in tests/core/test_sessions.py, calls in a minute and bodies in
tests/server/test_app.py; sessions, calls, streams and processes of upstreams in
tests/server/gateway/programs/test_program_life.py, and the same with bodies of 4 MiB in
tests/server/gateway/remotes/test_remote_streams.py and test_remote_relay.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from starlette.types import ASGIApp, Message, Scope

from mcp_keys_server import ApiKey, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.server.calls_at_once import MOST_CALLS
from mcp_keys_server.settings import Settings
from tests.server.calls import call, post
from tests.server.conftest import client_of, started
from tests.server.pages.conftest import Visitor
from tests.world import World

pytestmark = pytest.mark.anyio
BOBS = "/u/bob/keys/mcp"


@asynccontextmanager
async def a_site(world: World, *, changes_per_hour: int) -> AsyncIterator[ASGIApp]:
    policy = KeyPolicy(max_changes_per_hour=changes_per_hour)
    async with AsyncExitStack() as stack:
        ring = await stack.enter_async_context(
            open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, policy=policy, clock=world.clock)
        )
        yield await stack.enter_async_context(started(replace(world, ring=ring), Settings()))


class UnfinishedCall:
    """A request of which the body never comes whole, with the status of its answer, if there is one."""

    def __init__(self, app: ASGIApp, key: ApiKey) -> None:
        self.status: int | None = None
        self.is_read = asyncio.Event()
        headers = {"host": "localhost:8000", "x-api-key": key.reveal(), "content-type": "application/json"}
        path = "/u/ada/keys/mcp"
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "server": ("localhost", 8000),
            "client": ("127.0.0.1", 123),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        self.is_read.set()
        return await asyncio.Future()

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)

    async def hang_up(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_a_user_has_so_many_calls_open_with_all_their_keys_together(world: World) -> None:
    adas = [(await world.key())[1] for _ in range(4)]
    _, bobs = await world.key("bob")
    async with started(world, Settings()) as app, client_of(app) as http:
        calls = [UnfinishedCall(app, adas[number % 4]) for number in range(MOST_CALLS)]
        with anyio.fail_after(60):
            for each in calls:
                await each.is_read.wait()
        refused = await post(http, adas[0])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == -32000
        assert (await post(http, bobs, path=BOBS)).status_code == 200
        await calls.pop().hang_up()
        assert (await post(http, adas[0])).status_code == 200
        for each in calls:
            await each.hang_up()
        assert {each.status for each in calls} == {None}


async def test_a_user_who_changes_too_much_is_told_until_when_and_a_neighbour_is_served(world: World) -> None:
    (record, adas), (_, bobs) = await world.key(), await world.key("bob")
    async with a_site(world, changes_per_hour=3) as app, client_of(app) as http:
        for number in range(3):
            await call(http, adas, "update_key", {"key_id": record.key_id, "name": f"Name {number}"})
        refused = await call(http, adas, "create_key", {"name": "one more"})
        assert refused.is_error
        assert "try again in 3600 seconds" in refused.text
        assert not (await call(http, bobs, "create_key", {"name": "x"}, path=BOBS)).is_error
        assert not (await call(http, adas, "list_keys")).is_error
        assert not (await call(http, adas, "revoke_key", {"key_id": record.key_id})).is_error


async def test_on_the_pages_they_are_told_the_same(world: World) -> None:
    (_, adas), (_, bobs) = await world.key(), await world.key("bob")
    async with a_site(world, changes_per_hour=1) as app, client_of(app) as one, client_of(app) as other:
        ada, bob = Visitor(one), Visitor(other)
        await ada.sign_in(adas)
        await bob.sign_in(bobs)
        made = await ada.create()
        for path, fields in (("/keys/", {"name": "x", "scopes": "keys:read"}), (f"/keys/{made}/rename", {"name": "y"})):
            answer = await ada.post(path, fields)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
            assert "Not so fast" in answer.text
        await bob.create()
        assert (await ada.post(f"/keys/{made}/claim")).status_code == 200
        assert (await ada.post(f"/keys/{made}/revoke", {})).status_code == 303
