"""Calls of tools that take their time, and what becomes of them when the key in use ends."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from mcp_keys_server import ApiKey, RequestedGrant
from mcp_keys_server.core.records import Person
from tests.databases import Database
from tests.running_server import ADA, RunningServer, run, running_server
from tests.server.calls import MODERN, call, post
from tests.world import World

pytestmark = pytest.mark.anyio
META: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}


async def ask_for_a_key(http: httpx2.AsyncClient, key: str, state: str | None = None) -> httpx2.Response:
    """With a state, the call that waits until the key is claimed."""
    params: dict[str, Any] = {
        "name": "create_key",
        "arguments": {"name": "x"},
        "_meta": META | {"io.modelcontextprotocol/protocolVersion": MODERN},
    }
    if state is not None:
        params |= {"requestState": state, "inputResponses": {"claim": {"action": "accept"}}}
    headers = {
        "X-API-Key": key,
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": "create_key",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return await http.post("/u/ada/keys/mcp", headers=headers, json=body)


async def state_of_a_question(http: httpx2.AsyncClient, key: str) -> str:
    asked = (await ask_for_a_key(http, key)).json()["result"]
    assert asked["resultType"] == "input_required"
    state = asked["requestState"]
    assert isinstance(state, str)
    return state


async def a_call_that_waits(world: World, http: httpx2.AsyncClient, key: ApiKey) -> asyncio.Task[httpx2.Response]:
    """For the claim of a key that it asks for; it is being answered."""
    state = await state_of_a_question(http, key.reveal())
    waiting = asyncio.create_task(ask_for_a_key(http, key.reveal(), state))
    with anyio.fail_after(20):
        while len(world.ring.open_responses) == 0:
            await asyncio.sleep(0)
    return waiting


async def test_a_call_that_waits_is_refused_when_its_key_is_revoked(world: World, http: httpx2.AsyncClient) -> None:
    record, key = await world.key()
    waiting = await a_call_that_waits(world, http, key)
    with anyio.fail_after(20):
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, -32001)
    assert len(world.ring.open_responses) == 0


async def test_a_call_that_waits_is_refused_when_its_key_loses_the_endpoint(
    world: World, http: httpx2.AsyncClient
) -> None:
    record, key = await world.key()
    waiting = await a_call_that_waits(world, http, key)
    with anyio.fail_after(20):
        for _ in range(50):  # until it has passed all that comes before the tool
            await asyncio.sleep(0)
        elsewhere = RequestedGrant(aliases=frozenset({"notes"}))
        await world.ring.manager.update_key(Person("ada"), key_id=record.key_id, requested=elsewhere)
        answer = await waiting
    assert answer.status_code == 403
    assert len(world.ring.open_responses) == 0


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_a_key_that_revokes_itself_reads_that_it_did(
    world: World, http: httpx2.AsyncClient, *, modern: bool
) -> None:
    for _ in range(20):
        record, key = await world.key()
        revoked = await call(http, key, "revoke_key", {"key_id": record.key_id}, modern=modern)
        assert revoked.structured["status"] == "revoked"
        assert (await post(http, key, modern=modern)).status_code == 401
    assert len(world.ring.open_responses) == 0


@asynccontextmanager
async def a_client(server: RunningServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=server.base_url, timeout=60) as http:
        yield http


async def revoke(database: Database, key_id: str) -> None:
    def in_a_process_of_its_own() -> subprocess.CompletedProcess[str]:
        return run("keys", "revoke", key_id, "--database", str(database))

    assert (await anyio.to_thread.run_sync(in_a_process_of_its_own)).returncode == 0


async def test_a_revocation_on_the_command_line_ends_a_call_that_waits(database: Database) -> None:
    with running_server(database, *ADA, MCP_KEYS_LOG_LEVEL="debug") as server:
        async with a_client(server) as http:
            key = server.first_key
            state = await state_of_a_question(http, key)
            waiting = asyncio.create_task(ask_for_a_key(http, key, state))
            with anyio.fail_after(25):  # it would wait for 30 seconds
                while server.log.read_text().count("accepted: ") < 2:
                    await anyio.sleep(0.01)
                (first,) = (
                    it["key_id"]
                    for it in json.loads(run("keys", "list", "--json", "--database", str(database)).stdout)
                    if it["key_id"] != state
                )
                await revoke(database, first)
                answer = await waiting
        assert answer.status_code == 401
        server.stop()
        assert f"ended: revoked key_id={first} user_id=ada open_responses=1" in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


async def test_what_a_key_has_open_elsewhere_ends_when_it_revokes_itself(
    world: World, http: httpx2.AsyncClient
) -> None:
    record, key = await world.key()
    waiting = await a_call_that_waits(world, http, key)
    with anyio.fail_after(20):
        revoked = await call(http, key, "revoke_key", {"key_id": record.key_id}, modern=True)
        assert revoked.structured["status"] == "revoked"
        assert (await waiting).status_code == 401
