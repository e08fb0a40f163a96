"""An operator who turns on tracing gets no keys into the traces, wherever one was pasted."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from mcp.shared import _otel

from mcp_keys_server.settings import Settings
from tests.authorisation.conftest import request
from tests.conftest import KEY
from tests.leaks.traces import WritingTracer
from tests.server.calls import call, post
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every span is written."""
    path = tmp_path / "spans"
    monkeypatch.setattr(_otel, "_tracer", WritingTracer(str(path)))
    return path


@pytest.fixture
async def sqlite_http(sqlite_world: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with started(sqlite_world, Settings()) as app, client_of(app) as client:
        yield client


@pytest.mark.parametrize("modern", [False, True])
async def test_a_pasted_key_names_no_span(
    sqlite_world: World, sqlite_http: httpx2.AsyncClient, spans: Path, *, modern: bool
) -> None:
    _, key = await sqlite_world.key()
    pasted = key.reveal()
    refused = (await post(sqlite_http, key, pasted, modern=modern)).json()
    assert "There is no such tool" in refused["error"]["message"]
    for method, params in (("tools/call", {"name": "whoami"}), ("prompts/get", {"name": pasted}), (pasted, {})):
        message = request(method, modern=modern, **params) | {"id": pasted}
        headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": params.get("name", "")}
        sent = {"x-api-key": pasted, "accept": "application/json, text/event-stream"}
        await sqlite_http.post("/u/ada/keys/mcp", headers=sent | (headers if modern else {}), json=message)
    assert (await call(sqlite_http, key, "whoami", modern=modern)).structured["user_id"] == "ada"
    traced = spans.read_text()
    assert not KEY.search(traced)
    assert f"tools/call {pasted[:12]}[redacted]" in traced
    assert "tools/call whoami" in traced


@pytest.mark.parametrize("modern", [False, True])
async def test_what_a_client_tells_of_its_own_trace_holds_no_pasted_key(
    sqlite_world: World, sqlite_http: httpx2.AsyncClient, spans: Path, *, modern: bool
) -> None:
    _, key = await sqlite_world.key()
    pasted, trace_id, span_id = key.reveal(), "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    told = {
        "traceparent": f"00-{trace_id}-{span_id}-01",
        "tracestate": f"ours={pasted},theirs=0123456789",
        "baggage": f"user={pasted},{pasted}=x,region=north",
        "progressToken": pasted,
    }
    for more in ({}, {"traceparent": f"cc-{trace_id}-{span_id}-01-{pasted}"}, {"tracestate": [f"ours={pasted}"]}):
        message = request("tools/call", modern=modern, name="whoami", arguments={}, _meta=told | more)
        headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "whoami"}
        sent = {"x-api-key": pasted, "accept": "application/json, text/event-stream"}
        answer = await sqlite_http.post("/u/ada/keys/mcp", headers=sent | (headers if modern else {}), json=message)
        assert answer.json()["result"]["structuredContent"]["user_id"] == "ada"
    traced = spans.read_text()
    assert not KEY.search(traced)
    assert traced.count(f"trace_id=0x{trace_id}, span_id=0x{span_id}") == 3
    assert f"{pasted[:12]}[redacted]" in traced
    assert "0123456789" in traced
    assert "north" in traced


async def test_a_message_without_anything_is_traced_too(
    sqlite_world: World, sqlite_http: httpx2.AsyncClient, spans: Path
) -> None:
    _, key = await sqlite_world.key()
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    sent = {"x-api-key": key.reveal(), "accept": "application/json, text/event-stream"}
    answer = await sqlite_http.post("/u/ada/keys/mcp", headers=sent, json=message)
    assert answer.json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert "'ping'" in spans.read_text()
