"""Servers and clients of the SDK, with the gateway between them."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ToolsListChanged
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp_types import ElicitRequestParams, ElicitResult
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.auth.guard import PRINCIPAL
from tests.server.gateway.remotes.remote_upstreams import A_KEY, ALIAS, Gateway, a_gateway, principal

pytestmark = pytest.mark.anyio
READER = principal(tools=frozenset({f"{ALIAS}:r*", f"{ALIAS}:wait"}))


class Place(BaseModel):
    place: str


async def ask_for_the_place() -> Elicit[Place]:
    return Elicit("Where to?", Place)


class Tickets:
    """A server with tools of all kinds, and what they saw."""

    def __init__(self) -> None:
        self.mcp = MCPServer("tickets", log_level="WARNING")
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        for tool in (self.read, self.ride, self.run, self.wait, self.write):
            self.mcp.tool()(tool)

    async def read(self, number: int) -> str:
        return f"ticket {number}"

    async def write(self) -> str:
        return "written"

    async def run(self, ctx: Context) -> str:
        for step in range(3):
            await ctx.report_progress(step, 3, f"step {step}")
        await ctx.notify_tools_changed()
        return "done"

    async def ride(self, to: Annotated[Place, Resolve(ask_for_the_place)]) -> str:
        return f"to {to.place}"

    async def wait(self) -> str:
        self.waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()
        return "never"


@asynccontextmanager
async def served(app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """Where it is."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan=lifespan, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    with anyio.fail_after(20):
        while not server.started:
            await anyio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        with anyio.fail_after(20):
            await serving
        listening.close()


class Front:
    """The gateway as clients come to it, with the key of one of them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.answering: dict[asyncio.Task[Any], str] = {}
        """What is being answered, by method."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PRINCIPAL] = READER
        task = asyncio.current_task()
        assert task
        self.answering[task] = scope["method"]
        try:
            await self._gateway.server(scope, receive, send)
        finally:
            del self.answering[task]


class Site:
    """A server behind the gateway, and where clients find it."""

    def __init__(self, tickets: Tickets, front: Front, gateway: Gateway, url: str) -> None:
        self.tickets = tickets
        self.front = front
        self.gateway = gateway
        self.url = url

    @asynccontextmanager
    async def client(self, mode: str, *, answered: str = "Ulm", **more: Any) -> AsyncIterator[Client]:  # noqa: ANN401
        async def answer(context: object, params: ElicitRequestParams) -> ElicitResult:
            assert context
            assert params.message == "Where to?"
            return ElicitResult(action="accept", content={"place": answered})

        async with (
            httpx2.AsyncClient(headers={"x-api-key": A_KEY}, timeout=20) as http,
            Client(
                streamable_http_client(self.url, http_client=http),
                mode=mode,
                elicitation_callback=answer,
                cache=None,
                read_timeout_seconds=20,
                **more,
            ) as client,
        ):
            yield client


@pytest.fixture
async def site(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Site]:
    caplog.set_level(logging.WARNING, "mcp")  # the clients, which log what they send
    tickets = Tickets()
    async with (
        served(tickets.mcp.streamable_http_app(), "on") as behind,
        a_gateway(behind) as gateway,
        served(front := Front(gateway)) as url,
    ):
        yield Site(tickets, front, gateway, url)


both_eras = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])


@both_eras
async def test_tools_are_listed_and_called(site: Site, mode: str) -> None:
    async with site.client(mode) as client:
        assert sorted(tool.name for tool in (await client.list_tools()).tools) == ["read", "ride", "run", "wait"]
        called = await client.call_tool("read", {"number": 7})
        assert called.structured_content == {"result": "ticket 7"}
        with pytest.raises(MCPError, match="no tool of this name here"):
            await client.call_tool("write", {})
        with pytest.raises(MCPError, match="revoke it"):
            await client.call_tool("read", {"number": A_KEY})
    assert site.gateway.usage.uses[ALIAS, "ada"].errors == 0


@both_eras
async def test_progress_is_told(site: Site, mode: str) -> None:
    told: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(f"{message}: {progress} of {total}")

    async with site.client(mode) as client:
        await client.call_tool("run", {}, progress_callback=progress)
        assert told == ["step 0: 0.0 of 3.0", "step 1: 1.0 of 3.0", "step 2: 2.0 of 3.0"]


@both_eras
async def test_questions_are_asked_and_answered(site: Site, mode: str) -> None:
    async with site.client(mode) as client:
        assert (await client.call_tool("ride", {})).structured_content == {"result": "to Ulm"}


async def test_an_answer_that_holds_a_key_does_not_reach_the_server(site: Site) -> None:
    async with site.client("2026-07-28", answered=A_KEY) as client:
        with pytest.raises(MCPError, match="revoke it"):
            await client.call_tool("ride", {})


@both_eras
async def test_a_call_is_cancelled_by_the_client(site: Site, mode: str) -> None:
    async with site.client(mode) as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "wait", {})
        with anyio.fail_after(20):
            await site.tickets.waiting.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(20):
        await site.tickets.cancelled.wait()


@both_eras
async def test_a_call_is_cancelled_when_its_key_ends(site: Site, mode: str) -> None:
    async with site.client(mode) as client:
        calling = asyncio.create_task(client.call_tool("wait", {}))
        with anyio.fail_after(20):
            await site.tickets.waiting.wait()
            (answering,) = (task for task, method in site.front.answering.items() if method == "POST")
            answering.cancel()
            await site.tickets.cancelled.wait()
            with pytest.raises(MCPError):
                await calling


async def test_changes_are_listened_for(site: Site) -> None:
    async with site.client("2026-07-28") as client, client.listen(tools_list_changed=True) as changes:
        await client.call_tool("run", {})
        with anyio.fail_after(20):
            assert await anext(aiter(changes)) == ToolsListChanged()
        assert site.gateway.usage.open_calls(ALIAS, "ada") == 0


async def test_our_own_client_lists_them_too(site: Site) -> None:
    async with site.gateway.server.connected(user_id="ada", key_id="key1") as client:
        assert len((await client.list_tools()).tools) == 5
