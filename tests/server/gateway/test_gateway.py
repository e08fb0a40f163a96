"""Both kinds of upstreams as the gateway puts them behind their aliases."""

from pathlib import Path

import anyio
import pytest

from mcp_keys_server.server.gateway.programs import program_server
from mcp_keys_server.server.gateway.programs.program_server import ProgramServer
from tests.server.gateway.conftest import PROGRAM
from tests.server.gateway.remotes.remote_upstreams import always, an_upstream
from tests.server.gateway.served import served
from tests.world import World

pytestmark = pytest.mark.anyio
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
PONG = {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_a_server_somewhere_else_stands_behind_its_alias(sqlite_world: World, tmp_path: Path) -> None:
    _, key = await sqlite_world.key()
    async with an_upstream(always(200, PONG, content_type="application/json")) as upstream:
        described = {"url": upstream.url, "allow_private": True, "headers": {"X-User": "{user_id}"}}
        async with (
            served(sqlite_world, tmp_path, {"tickets": described}) as running,
            running.http(key) as http,
        ):
            endpoint = running.endpoint(alias="tickets")
            assert (await http.post(endpoint, json=PING)).json() == PONG
            (asked,) = upstream.requests
            assert ("x-user", "ada") in [(name.lower(), value) for name, value in asked.headers]
            assert key.reveal() not in str(asked)
            (status,) = running.gateway.status
            assert (status.alias, status.user_id, status.calls, status.state) == ("tickets", "ada", 1, None)
            # A page of somebody else's in the user's browser.
            foreign = await http.post(endpoint, json=PING, headers={"origin": "https://evil.example"})
            assert foreign.status_code == 403
            rebound = await http.post(endpoint, json=PING, headers={"host": "evil.example"})
            assert rebound.status_code == 421
            assert len(upstream.requests) == 1
            running.gateway.reconfigure({})
            with anyio.fail_after(10):
                while (await http.post(endpoint, json=PING)).status_code != 403:
                    await anyio.sleep(0.01)
            assert running.gateway.status == []


async def test_a_page_of_somebody_elses_in_the_users_browser_reaches_no_program(
    sqlite_world: World, tmp_path: Path
) -> None:
    _, key = await sqlite_world.key()
    read = {"accept": "application/json, text/event-stream"}
    async with served(sqlite_world, tmp_path, {"sample": {"command": PROGRAM}}) as running, running.http(key) as http:
        foreign = await http.post(running.endpoint(), json=PING, headers=read | {"origin": "https://evil.example"})
        rebound = await http.post(running.endpoint(), json=PING, headers=read | {"host": "evil.example"})
        assert (foreign.status_code, rebound.status_code) == (403, 421)


async def test_who_has_not_come_for_long_is_forgotten_and_welcome_again(
    sqlite_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_server, "SECONDS_BETWEEN_SWEEPS", 0.05)
    _, key = await sqlite_world.key()
    async with (
        served(sqlite_world, tmp_path, {"sample": {"command": PROGRAM, "idle_seconds": 0.5}}) as running,
        running.client(key) as client,
    ):
        server = running.gateway._places["sample"].server
        assert isinstance(server, ProgramServer)
        await client.call_tool("note", {"text": "one"})
        server.forget_idle(0)
        assert server.processes, "it runs"
        with anyio.fail_after(20):
            while server.processes["ada"].takes_room:
                await anyio.sleep(0.01)
        server.forget_idle(60)
        assert server.processes, "not so long"
        monkeypatch.setattr(program_server, "SECONDS_OF_AN_IDLE_SESSION", 0)
        with anyio.fail_after(20):
            while server.processes:
                await anyio.sleep(0.01)
        assert (await client.call_tool("note", {"text": "two"})).structured_content == {"result": ["two"]}
