from contextlib import AsyncExitStack

import httpx2
import pytest
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server import ApiKey
from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.core.counters import SharedCounters
from mcp_keys_server.server.app import LARGEST_BODY
from mcp_keys_server.server.endpoints import Endpoint, Endpoints
from mcp_keys_server.settings import Settings
from tests.benchmarks.noop_server import unlimited
from tests.server.calls import post
from tests.server.conftest import BASE_URL, client_of, started
from tests.world import World, open_world

pytestmark = pytest.mark.anyio


async def test_health_is_always_fine_and_readiness_is_the_stores(world: World, http: httpx2.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    world.database.spoil()
    assert (await http.get("/healthz")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")


WELL_KNOWN = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/u/ada/keys/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/u/ada/keys/mcp",
    "/.well-known/openid-configuration",
    "/u/ada/keys/mcp/.well-known/openid-configuration",
]


@pytest.mark.parametrize("path", WELL_KNOWN)
async def test_no_oauth_metadata_is_published(http: httpx2.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == (401 if path.startswith("/u/") else 404)
    assert "API key" in answer.text


async def test_whoever_posts_to_oauth_metadata_is_told_as_well(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/.well-known/oauth-authorization-server")).status_code == 404


async def test_who_asks_to_register_is_told_how_to_send_a_key(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/register", json={"client_name": "x"})
    assert (answer.status_code, answer.json()["error"]) == (403, "invalid_request")
    assert "API keys, not OAuth" in answer.json()["error_description"]
    assert "Authorization: Bearer" in answer.json()["error_description"]


@pytest.mark.parametrize("path", ["/nothing", "/u", "/healthz/", "/authorize", "/token"])
async def test_what_is_not_there_is_json_and_no_redirect(http: httpx2.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert answer.json()["error"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/keys"])
async def test_the_short_addresses_lead_to_the_pages(http: httpx2.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/keys/")


async def test_a_method_that_is_not_there_is_json_too(http: httpx2.AsyncClient) -> None:
    answer = await http.delete("/healthz")
    assert (answer.status_code, answer.json()["error"]) == (405, "invalid_request")
    assert "GET" in answer.headers["allow"]


async def test_a_crash_is_500_without_a_word_of_it(
    world: World, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key()

    async def crash(*_: object) -> None:
        raise RuntimeError(f"cannot read {key.reveal()[:20]}")

    monkeypatch.setattr(type(world.ring.verifier), "verify", crash)
    answer = await post(http, key)
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert key.prefix not in answer.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "localhost", "127.0.0.1:9999"])
async def test_the_hosts_of_this_machine_are_answered(world: World, http: httpx2.AsyncClient, host: str) -> None:
    _, key = await world.key()
    assert (await post(http, key, headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
async def test_a_foreign_host_is_refused(world: World, http: httpx2.AsyncClient, host: str) -> None:
    _, key = await world.key()
    for modern in (False, True):
        assert (await post(http, key, modern=modern, headers={"host": host})).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
async def test_a_foreign_origin_is_refused(world: World, http: httpx2.AsyncClient, origin: str) -> None:
    _, key = await world.key()
    for modern in (False, True):
        answer = await post(http, key, modern=modern, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_this_machine_may_call_and_read_refusals(world: World, http: httpx2.AsyncClient) -> None:
    origin = {"origin": "http://localhost:6274"}
    preflight = await http.options(
        "/u/ada/keys/mcp",
        headers=origin
        | {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,mcp-protocol-version,mcp-method,mcp-name",
        },
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, origin["origin"])
    refused = await http.post("/u/ada/keys/mcp", headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == origin["origin"]
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in refused.headers
    _, key = await world.key()
    assert (await post(http, key, headers=origin)).status_code == 200


async def test_a_body_has_a_limit(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    assert (await post(http, key, "create_key", {"name": "x" * LARGEST_BODY})).status_code == 413


MALFORMED_BODIES = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'"x"',
    b"[" * 100_000,
    b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b"}",
    b"\xff",
    b"NaN",
]


@pytest.mark.parametrize("body", MALFORMED_BODIES, ids=range(len(MALFORMED_BODIES)))
async def test_a_body_that_is_no_message_is_refused_in_both_eras(
    world: World, http: httpx2.AsyncClient, body: bytes
) -> None:
    _, key = await world.key()
    headers = {"X-API-Key": key.reveal(), "content-type": "application/json"}
    for era in ({}, {"mcp-protocol-version": "2026-07-28"}):
        answer = await http.post("/u/ada/keys/mcp", headers=headers | era, content=body)
        assert 400 <= answer.status_code < 500


async def test_a_session_is_ridden_by_no_other_key(world: World) -> None:
    """Were there sessions, as upstreams will have: the SDK binds them to what the endpoint tells it."""
    sessions = StreamableHTTPSessionManager(Server("x"), json_response=True)
    app = KeyGuard(
        Endpoints(
            {"keys": Endpoint(AuthContextMiddleware(sessions.asgi_app)), "b": Endpoint(sessions.asgi_app)},
            unlimited(world.ring),
        ),
        world.ring.verifier,
        world.ring.open_responses,
    )
    (_, adas), (_, adas_other), (_, bobs) = await world.key("ada"), await world.key("ada"), await world.key("bob")

    async def ask(key: ApiKey, path: str, session: str | None = None) -> httpx2.Response:
        headers = {"X-API-Key": key.reveal(), "accept": "application/json, text/event-stream"}
        method = "initialize" if session is None else "ping"
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {} if session else params}
        return await http.post(path, headers=headers | ({"mcp-session-id": session} if session else {}), json=body)

    async with sessions.run(), httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE_URL) as http:
        opened = await ask(adas, "/u/ada/keys/mcp")
        session = opened.headers["mcp-session-id"]
        assert (await ask(adas, "/u/ada/keys/mcp", session)).status_code == 200
        assert (await ask(bobs, "/u/bob/keys/mcp", session)).status_code == 404
        assert (await ask(adas_other, "/u/ada/keys/mcp", session)).status_code == 404
        assert (await ask(adas, "/u/ada/b/mcp", session)).status_code == 404


async def test_the_sdk_knows_the_principal_and_not_the_key(world: World) -> None:
    seen: list[Scope] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        seen.append(scope)

    record, key = await world.key()
    app: ASGIApp = KeyGuard(
        Endpoints({"keys": Endpoint(behind)}, unlimited(world.ring)), world.ring.verifier, world.ring.open_responses
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE_URL) as http:
        with pytest.raises(AssertionError):  # of the client: there was no answer
            await post(http, key)
    token = seen[0]["user"].access_token
    assert (token.client_id, token.subject, token.scopes) == (record.key_id, "ada", ["keys:read", "keys:write"])
    assert key.reveal() not in repr(token)


async def test_a_key_that_calls_too_often_is_told_to_wait_and_its_neighbours_are_not(world: World) -> None:
    (_, busy), (_, calm), (_, bobs) = await world.key(), await world.key(), await world.key("bob")
    async with started(world, Settings(calls_per_minute=3)) as app, client_of(app) as http:
        for _ in range(3):
            assert (await post(http, busy)).status_code == 200
        answer = await post(http, busy)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, -32000)
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "Try again in" in answer.json()["error"]["message"]
        assert (await post(http, calm)).status_code == 200
        assert (await post(http, bobs, path="/u/bob/keys/mcp")).status_code == 200


async def test_what_another_process_let_through_counts(world: World) -> None:
    _, key = await world.key()
    most = 100
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(open_world(world.database, clock=world.clock)) for _ in range(2)]
        counts = []
        for each in (one, other):
            app = await stack.enter_async_context(started(each, Settings(calls_per_minute=most)))
            http = await stack.enter_async_context(client_of(app))
            counts.append(0)
            while (await post(http, key)).status_code == 200:
                counts[-1] += 1
                assert isinstance(each.ring.counters, SharedCounters)
                await each.ring.counters.share()
    assert counts[0] == most
    assert counts[1] <= most / 50


async def test_of_an_address_with_too_many_bad_keys_there_is_one_more_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    async with started(world, Settings(failures_per_minute=2)) as app:
        for client in ("192.0.2.1", "192.0.2.2"):
            async with client_of(app, client=client) as http:
                for _ in range(6):
                    await http.post("/u/ada/keys/mcp", headers={"X-API-Key": "forged"})
    lines = [line for name, _, line in caplog.record_tuples if name.startswith("mcp_keys_server.auth.")]
    assert lines[:2] + lines[3:5] == [
        *["refused: malformed client=192.0.2.1"] * 2,
        *["refused: malformed client=192.0.2.2"] * 2,
    ]
    assert [line.partition(";")[0] for line in (lines[2], lines[5])] == [
        "refused: too many failures client=192.0.2.1",
        "refused: too many failures client=192.0.2.2",
    ]
    assert len(lines) == 6


async def test_an_address_with_too_many_bad_keys_is_told_to_wait_but_not_with_a_good_one(world: World) -> None:
    _, key = await world.key()
    async with started(world, Settings(failures_per_minute=3)) as app, client_of(app) as http:
        statuses = [(await http.post("/u/ada/keys/mcp", headers={"X-API-Key": "forged"})).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert (await http.post("/u/ada/keys/mcp")).status_code == 401
        assert (await post(http, key)).status_code == 200
