"""When a program is started, stopped and started again, and what its users are told meanwhile."""

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import cast

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcp_keys_server import ApiKey, RequestedGrant
from mcp_keys_server.server.gateway.programs import user_process
from mcp_keys_server.server.gateway.programs.program_server import ProgramServer
from mcp_keys_server.server.gateway.upstream_status import UpstreamStatus
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams
from tests.server.gateway.conftest import PROGRAM
from tests.server.gateway.programs.child_programs import is_running
from tests.server.gateway.served import ERAS, Served, served
from tests.world import World

pytestmark = pytest.mark.anyio
SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def behind(sqlite_world: World, tmp_path: Path) -> "Behind":
    return Behind(sqlite_world, tmp_path / "upstreams")


class Behind:
    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder

    def __call__(self, **described: object) -> AbstractAsyncContextManager[Served]:
        """Served with the sample program, or another, behind ``sample``."""
        return served(self.world, self._folder, {"sample": {"command": PROGRAM, **described}})


def status(running: Served, user: str = "ada") -> UpstreamStatus:
    (found,) = [each for each in running.gateway.status if each.user_id == user]
    return found


async def until(running: Served, state: str, user: str = "ada") -> None:
    with anyio.fail_after(20):
        while status(running, user).state != state:
            await anyio.sleep(0.01)


async def refused(running: Served, key: ApiKey) -> str:
    """The sentence with which a first request is answered."""
    async with running.http(key) as http:
        response = await post(http, running.endpoint(), "server/discover")
    message: str = response.json()["error"]["message"]
    return message


async def post(http: httpx2.AsyncClient, url: str, method: str, **headers: str) -> httpx2.Response:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}
    sent = {"mcp-protocol-version": "2026-07-28", "mcp-method": method} | headers
    return await http.post(url, json=body, headers=sent | {"accept": "application/json, text/event-stream"})


async def test_nobody_uses_it_and_nothing_runs(behind: Behind) -> None:
    async with behind() as running:
        assert running.gateway.status == []


@pytest.mark.parametrize("mode", ERAS)
async def test_one_that_ends_is_started_again(behind: Behind, mode: str) -> None:
    _, key = await behind.world.key()
    async with behind() as running, running.client(key, mode=mode) as client:
        await client.call_tool("note", {"text": "one"})
        before = status(running)
        with pytest.raises(MCPError, match="'sample' ended during the call"):
            await client.call_tool("end", {"code": 3})
        await until(running, "failed")
        assert status(running).last_error == "it ended with exit code 3"
        with pytest.raises(MCPError, match="exit code 3. Try again in"):
            await client.call_tool("note", {"text": "too soon"})
        noted = None
        with anyio.fail_after(20):
            while noted is None:
                with suppress(MCPError):
                    noted = await client.call_tool("note", {"text": "two"})
                await anyio.sleep(0.05)
        assert noted.structured_content == {"result": ["two"]}
        assert status(running).pid != before.pid
        assert status(running).state == "running"


async def test_one_that_has_lived_for_long_is_started_again_at_once(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_process, "SECONDS_THAT_COUNT", 0)
    _, key = await behind.world.key()
    async with behind() as running, running.client(key) as client:
        with pytest.raises(MCPError, match="'sample' ended during the call"):
            await client.call_tool("end", {"code": 3})
        await until(running, "failed")
        assert (await client.call_tool("note", {"text": "at once"})).structured_content == {"result": ["at once"]}


async def test_many_first_requests_at_once_start_one(behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
    _, key = await behind.world.key()
    codes: list[int] = []
    async with behind() as running, running.http(key) as http:

        async def ask() -> None:
            codes.append((await post(http, running.endpoint(), "tools/list")).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
    assert codes == [200] * 5
    assert caplog.text.count("upstream sample of ada runs") == 1


async def test_one_that_cannot_be_started_says_why_to_the_operator_and_that_it_is_not_there_to_the_user(
    behind: Behind,
) -> None:
    _, key = await behind.world.key()
    async with behind(command=["no-such-program", "--token=of the operator"]) as running:
        sentence = await refused(running, key)
        assert "it cannot be started; tell its operator" in sentence
        again = await refused(running, key)
        assert "Try again in" in again
        assert "no-such-program" not in sentence + again
        assert "'no-such-program'" in str(status(running).last_error)
        assert "of the operator" not in str(running.gateway.status)


@pytest.mark.parametrize(
    ("program", "seconds", "reason"),
    [
        ("exit 7", 10, "it ended with exit code 7"),
        ("sleep 60", 1, "it did not answer within 1 s of its start"),
        ("""while read line; do echo '{"jsonrpc":"2.0","id":1,"result":{}}'; done""", 10, "it "),
    ],
)
async def test_one_that_does_not_speak_the_protocol_is_ended(
    behind: Behind, program: str, seconds: int, reason: str
) -> None:
    _, key = await behind.world.key()
    async with behind(command=["sh", "-c", program], start_seconds=seconds) as running:
        assert reason in await refused(running, key)
        assert status(running).state == "failed"
        assert status(running).pid is None


@pytest.mark.parametrize(
    ("knows", "told", "speaks"),
    [
        ("both", "2025-11-25", "2025-11-25"),
        ("both", "2026-07-28", "2026-07-28"),
        ("legacy", "2026-07-28", "2025-11-25"),
        ("later", "2025-11-25", "2026-07-28"),
    ],
)
async def test_a_program_is_spoken_to_in_the_era_that_it_knows_and_the_operator_wants(
    behind: Behind, caplog: pytest.LogCaptureFixture, knows: str, told: str, speaks: str
) -> None:
    _, key = await behind.world.key()
    async with behind(command=[*PROGRAM, knows], protocol=told) as running, running.client(key) as client:
        assert (await client.call_tool("note", {"text": "one"})).structured_content == {"result": ["one"]}
    assert f"protocol={speaks}" in caplog.text


async def test_one_that_nobody_uses_is_stopped_and_comes_back(behind: Behind) -> None:
    _, key = await behind.world.key()
    async with behind(idle_seconds=0.5) as running, running.client(key) as client:
        await client.call_tool("wait", {"seconds": 1, "mark": os.devnull})  # longer than it may idle
        pid = status(running).pid
        assert pid is not None
        await until(running, "stopped")
        assert not Path(f"/proc/{pid}").exists()
        assert (await client.call_tool("note", {"text": "back"})).structured_content == {"result": ["back"]}


async def test_for_one_more_the_one_that_idles_longest_is_stopped_and_none_that_is_used(behind: Behind) -> None:
    (_, adas), (_, bobs) = await behind.world.key("ada"), await behind.world.key("bob")
    async with (
        behind(max_processes=1) as running,
        running.client(adas) as ada,
        running.client(bobs, user="bob") as bob,
        anyio.create_task_group() as tasks,
    ):
        await ada.call_tool("note", {"text": "ada's"})
        await bob.call_tool("note", {"text": "bob's"})
        assert (status(running, "ada").state, status(running, "bob").state) == ("stopped", "running")
        tasks.start_soon(ada.call_tool, "wait", {"seconds": 30, "mark": os.devnull})
        await until(running, "running", "ada")
        with pytest.raises(MCPError, match="run as the operator allows"):
            await bob.call_tool("note", {"text": "no room"})
        tasks.cancel_scope.cancel()


async def test_a_user_has_so_many_calls_at_once_and_no_more(behind: Behind) -> None:
    _, key = await behind.world.key()
    async with (
        behind(calls_at_once=2) as running,
        running.client(key) as client,
        running.http(key) as http,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(2):
            tasks.start_soon(client.call_tool, "wait", {"seconds": 30, "mark": os.devnull})
        with anyio.fail_after(20):
            while status(running).open_calls < 2:
                await anyio.sleep(0.01)
        response = await post(http, running.endpoint(), "tools/list")
        assert response.status_code == 429
        assert "2 calls of 'sample' open" in response.json()["error"]["message"]
        tasks.cancel_scope.cancel()


async def test_streams_on_which_nothing_is_asked_take_nothing_from_calls(behind: Behind) -> None:
    _, key = await behind.world.key()
    async with (
        behind(calls_at_once=2) as running,
        running.client(key, mode="legacy") as one,
        running.client(key, mode="legacy") as other,
        running.http(key) as http,
    ):
        for client in (one, other, one, other):
            await client.call_tool("note", {"text": "with a stream beside it"})
        response = await http.get(running.endpoint(), headers={"accept": "text/event-stream"})
        assert response.status_code == 429


async def test_many_who_come_at_once_never_run_more_processes_than_there_may_be(behind: Behind) -> None:
    users = ("ada", "bob", "cem", "dan", "eve")
    for user in users[2:]:
        await behind.world.ring.administration.add_user(user)
    keys = {user: (await behind.world.key(user))[1] for user in users}
    most, answered = 0, 0

    async with behind(max_processes=2) as running:

        async def use(user: str) -> None:
            nonlocal answered
            async with running.http(keys[user]) as http:
                response = await post(http, running.endpoint(user), "server/discover")
            assert response.status_code in {200, 503}
            answered += 1

        for user in users[:2]:
            await use(user)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for user in users[2:]:
                    tasks.start_soon(use, user)
                while answered < len(users):
                    most = max(most, sum(each.pid is not None for each in running.gateway.status))
                    await anyio.sleep(0.01)
        assert most == 2


async def test_after_a_change_no_process_starts_before_the_one_in_its_folder_has_ended(behind: Behind) -> None:
    _, key = await behind.world.key()
    lingers = f"import subprocess, time; subprocess.run({PROGRAM}); time.sleep(60)"
    async with behind(command=[sys.executable, "-c", lingers]) as running, running.client(key) as client:
        await client.call_tool("note", {"text": "one"})
        before = status(running).pid
        assert before is not None
        described = {"command": PROGRAM}
        for idle_seconds in (100, 200):
            upstreams = parse_upstreams({"sample": {**described, "idle_seconds": idle_seconds}})
            running.gateway.reconfigure(cast("Mapping[str, AnyUpstream]", upstreams))
            await anyio.sleep(0.1)
        async with running.http(key) as http:
            response = await post(http, running.endpoint(), "server/discover")
        assert response.status_code == 200
        assert not is_running(before)


async def test_whoever_waits_for_a_start_is_told_that_the_configuration_has_changed(behind: Behind) -> None:
    _, key = await behind.world.key()
    async with behind(command=SLEEPS) as running, anyio.create_task_group() as tasks:
        said: list[str] = []

        async def ask() -> None:
            said.append(await refused(running, key))

        tasks.start_soon(ask)
        with anyio.fail_after(20):
            while not running.gateway.status or status(running).state != "starting":
                await anyio.sleep(0.01)
        running.gateway.reconfigure({})
        with anyio.fail_after(20):
            while not said:
                await anyio.sleep(0.01)
        assert "this server has another configuration now" in said[0]


async def test_a_call_without_a_sign_of_life_is_given_up(behind: Behind) -> None:
    _, key = await behind.world.key()
    async with behind(call_seconds=0.5) as running, running.client(key) as client:
        with pytest.raises(MCPError, match="no sign of life for 0.5 seconds"):
            await client.call_tool("wait", {"seconds": 30, "mark": os.devnull})
        assert status(running).errors == 1
        assert status(running).state == "running"


@pytest.mark.parametrize("mode", ERAS)
async def test_two_users_share_nothing(behind: Behind, mode: str) -> None:
    (_, adas), (_, bobs) = await behind.world.key("ada"), await behind.world.key("bob")
    seen: dict[str, list[str]] = {"ada": [], "bob": []}

    async with behind(calls_at_once=200) as running:

        async def use(user: str, key: ApiKey) -> None:
            async with running.client(key, user=user, mode=mode) as client:

                async def call(number: int) -> None:
                    if number % 20 == 0:
                        failed = await client.call_tool("fail")
                        assert failed.is_error
                    noted = await client.call_tool("note", {"text": f"{user} {number}"})
                    assert noted.structured_content is not None
                    seen[user] += noted.structured_content["result"]

                async with anyio.create_task_group() as tasks:
                    for number in range(100):
                        tasks.start_soon(call, number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, "ada", adas)
            tasks.start_soon(use, "bob", bobs)
        pids = {status(running, user).pid for user in ("ada", "bob")}
        assert len(pids) == 2
        assert [status(running, user).errors for user in ("ada", "bob")] == [5, 5]
    for user, texts in seen.items():
        assert {text.split()[0] for text in texts} == {user}
        assert len(set(texts)) == 100


async def test_a_key_needs_the_scopes_that_the_operator_asks_for(behind: Behind) -> None:
    (_, without), (_, having) = (
        await behind.world.key(),
        await behind.world.key(requested=RequestedGrant(scopes=frozenset({"notes:use"}))),
    )
    async with behind(required_scopes=["notes:use"]) as running:
        async with running.http(without) as http:
            response = await post(http, running.endpoint(), "tools/list")
            assert response.status_code == 403
            assert "lacks the scope notes:use" in response.json()["error"]["message"]
            assert "www-authenticate" not in response.headers
        async with running.client(having) as client:
            assert (await client.list_tools()).tools


async def test_what_the_operator_changes_takes_effect_and_what_not_goes_on(behind: Behind) -> None:
    _, key = await behind.world.key()

    def configured(**upstreams: Mapping[str, object]) -> Mapping[str, AnyUpstream]:
        parsed = parse_upstreams(upstreams)
        assert isinstance(parsed, dict)
        return parsed

    async def gets(running: Served, alias: str, code: int) -> None:
        with anyio.fail_after(20):
            async with running.http(key) as http:
                while (await post(http, running.endpoint(alias=alias), "server/discover")).status_code != code:
                    await anyio.sleep(0.05)

    same = {"command": PROGRAM}
    async with behind() as running, running.client(key) as client:
        await client.call_tool("note", {"text": "one"})
        pid = status(running).pid
        running.gateway.reconfigure(configured(sample=same, second=same))
        await gets(running, "second", 200)
        assert (await client.call_tool("note", {"text": "two"})).structured_content == {"result": ["one", "two"]}
        running.gateway.reconfigure(configured(second=same))
        await gets(running, "sample", 403)
        with anyio.fail_after(10):
            while Path(f"/proc/{pid}").exists():
                await anyio.sleep(0.01)
        await gets(running, "second", 200)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_session_that_nobody_began_is_not_found(behind: Behind, method: str) -> None:
    _, key = await behind.world.key()
    async with behind() as running, running.http(key) as http:
        response = await http.request(method, running.endpoint(), headers={"mcp-session-id": "made up"})
        assert response.status_code == 404
        assert (await http.put(running.endpoint())).headers["allow"] == "DELETE, GET, POST"
        assert running.gateway.status == []


async def test_for_one_session_too_many_the_oldest_ends(behind: Behind) -> None:
    (_, key), (_, other) = await behind.world.key(), await behind.world.key()
    accept = {"accept": "application/json, text/event-stream"}
    hello = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "many", "version": "1"},
        },
    }
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with behind() as running, running.http(key) as http, running.http(other) as others_http:
        begun = [
            (await http.post(running.endpoint(), json=hello, headers=accept)).headers["mcp-session-id"]
            for _ in range(17)
        ]

        async def code(client: httpx2.AsyncClient, session: str) -> int:
            headers = accept | {"mcp-session-id": session}
            return (await client.post(running.endpoint(), json=ping, headers=headers)).status_code

        server = running.gateway._places["sample"].server
        assert isinstance(server, ProgramServer)
        assert key.reveal() not in str(server._users["ada"]._sessions.__dict__), "what is kept of a session has no key"
        assert [await code(http, session) for session in begun] == [404] + 16 * [200]
        assert await code(others_http, begun[-1]) == 404
