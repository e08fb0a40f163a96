from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken as FastMcpAccessToken
from fastmcp.server.auth import TokenVerifier
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette

from mcp_keys_server import ApiKey, InvalidFieldError, RequestedGrant, StoreUnavailableError
from mcp_keys_server.asgi import ApiKeyMiddleware
from mcp_keys_server.auth.open_responses import CURRENT, OpenResponse
from mcp_keys_server.auth.token_verifier import ApiKeyTokenVerifier, access_token
from tests.conftest import KEY
from tests.world import World

pytestmark = pytest.mark.anyio

ENDPOINTS = "/u/{user_id}/orders/mcp"
MINE = "/u/ada/orders/mcp"
ORDERS = RequestedGrant(scopes=frozenset({"orders:read"}), aliases=frozenset({"orders"}))
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def whose() -> str:
    token = get_access_token()
    assert token is not None
    return f"{token!r} {token} {token.model_dump_json()} {vars(token)}"


def sdk_app(verifier: ApiKeyTokenVerifier) -> Starlette:
    auth = AuthSettings.model_validate(
        {"issuer_url": "https://keys.example.com", "resource_server_url": None, "required_scopes": ["orders:read"]}
    )
    server = MCPServer("orders", token_verifier=verifier, auth=auth)
    server.tool()(whose)
    return server.streamable_http_app(streamable_http_path=ENDPOINTS, json_response=True)


def fastmcp_app(verifier: ApiKeyTokenVerifier) -> Starlette:
    class ApiKeys(TokenVerifier):
        async def verify_token(self, token: str) -> FastMcpAccessToken | None:
            proven = await verifier.verify_token(token)
            return None if proven is None else FastMcpAccessToken.model_validate(proven.model_dump())

    server = FastMCP("orders", auth=ApiKeys(required_scopes=["orders:read"]))
    server.tool(whose)
    return server.http_app(path=ENDPOINTS, json_response=True)


Build = Callable[[ApiKeyTokenVerifier], Starlette]
IN_EACH = pytest.mark.parametrize("build", [sdk_app, fastmcp_app])


@asynccontextmanager
async def started(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as http,
    ):
        yield http


@asynccontextmanager
async def behind_middleware(world: World, app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    app.add_middleware(ApiKeyMiddleware, world.ring, alias="orders", path=ENDPOINTS)
    async with started(app) as http:
        yield http


async def post(
    http: httpx2.AsyncClient,
    key: ApiKey | str,
    method: str = "initialize",
    params: Mapping[str, object] = INITIALIZE,
    *,
    path: str = MINE,
    session: str | None = None,
) -> httpx2.Response:
    presented = key.reveal() if isinstance(key, ApiKey) else key
    headers = {"authorization": f"Bearer {presented}", "accept": "application/json, text/event-stream"}
    if session is not None:
        headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return await http.post(path, headers=headers, json=body)


async def call(http: httpx2.AsyncClient, key: ApiKey, session: str) -> httpx2.Response:
    return await post(http, key, "tools/call", {"name": "whose", "arguments": {}}, session=session)


@IN_EACH
async def test_the_sdk_hears_whose_request_it_is_and_never_the_key(world: World, build: Build) -> None:
    record, key = await world.key(requested=ORDERS)
    async with behind_middleware(world, build(ApiKeyTokenVerifier())) as http:
        opened = await post(http, key)
        assert opened.status_code == 200
        said = (await call(http, key, opened.headers["mcp-session-id"])).text
    for part in ("subject='ada'", f"client_id='{record.key_id}'", "scopes=['orders:read']"):
        assert part in said
    assert "urn:mcp-keys:ada/orders" in said
    assert not KEY.search(said)


@IN_EACH
async def test_the_endpoint_is_checked(world: World, build: Build) -> None:
    _, key = await world.key(requested=ORDERS)
    _, other_alias = await world.key(requested=RequestedGrant(ORDERS.scopes, frozenset({"notes"})))
    _, other_scope = await world.key(requested=RequestedGrant(scopes=frozenset({"orders:write"})))
    _, bobs = await world.key("bob", ORDERS)
    async with behind_middleware(world, build(ApiKeyTokenVerifier())) as http:
        assert (await post(http, key, path="/u/bob/orders/mcp")).status_code == 403
        assert (await post(http, bobs)).status_code == 403
        assert (await post(http, other_alias)).status_code == 403
        assert (await post(http, other_scope)).status_code == 403
        assert (await post(http, "forged")).status_code == 401
        assert (await post(http, bobs, path="/u/bob/orders/mcp")).status_code == 200
        in_other_header = {"x-api-key": key.reveal(), "accept": "application/json, text/event-stream"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
        assert (await http.post(MINE, headers=in_other_header, json=body)).status_code == 200


@IN_EACH
async def test_a_store_that_does_not_answer_is_503_and_not_401(world: World, build: Build) -> None:
    _, key = await world.key(requested=ORDERS)
    async with behind_middleware(world, build(ApiKeyTokenVerifier())) as http:
        world.sql("ALTER TABLE secrets RENAME TO gone")
        answer = await post(http, key)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@IN_EACH
async def test_a_session_stays_with_its_key_through_a_rotation_and_with_no_other(world: World, build: Build) -> None:
    record, key = await world.key(requested=ORDERS)
    _, other = await world.key(requested=ORDERS)
    async with behind_middleware(world, build(ApiKeyTokenVerifier())) as http:
        session = (await post(http, key)).headers["mcp-session-id"]
        _, rotated = await world.ring.administration.rotate_key(record.key_id, overlap_hours=0)
        assert (await call(http, key, session)).status_code == 401
        assert (await call(http, rotated, session)).status_code == 200
        assert (await call(http, other, session)).status_code == 404


@IN_EACH
async def test_without_the_middleware_nobody_is_let_in(world: World, build: Build) -> None:
    _, key = await world.key(requested=ORDERS)
    async with started(build(ApiKeyTokenVerifier())) as http:
        assert (await post(http, key)).status_code == 500
    with pytest.raises(RuntimeError, match="ApiKeyMiddleware"):
        await ApiKeyTokenVerifier().verify_token(key.reveal())


async def test_alone_it_lets_in_what_opens_its_alias(world: World) -> None:
    record, key = await world.key(requested=RequestedGrant(ORDERS.scopes, ORDERS.aliases, expires_in_days=3_650))
    _, other = await world.key(requested=RequestedGrant(aliases=frozenset({"notes"})))
    verifier = ApiKeyTokenVerifier(world.ring.verifier, alias="orders")
    token = await verifier.verify_token(key.reveal())
    assert token is not None
    assert (token.token, token.client_id, token.subject) == (record.key_id, record.key_id, "ada")
    assert record.grant.expires_at is not None
    assert token.expires_at == int(record.grant.expires_at.timestamp())
    for presented in (other.reveal(), "forged", ""):
        assert await verifier.verify_token(presented) is None
    async with started(sdk_app(verifier)) as http:
        assert (await post(http, key)).status_code == 200
        assert (await post(http, other)).status_code == 401


async def test_it_can_be_one_users(world: World) -> None:
    _, key = await world.key()
    _, bobs = await world.key("bob")
    verifier = ApiKeyTokenVerifier(world.ring.verifier, alias="orders", user_id="ada")
    assert await verifier.verify_token(key.reveal()) is not None
    assert await verifier.verify_token(bobs.reveal()) is None


async def test_it_can_be_one_users_behind_the_middleware_too(world: World) -> None:
    _, bobs = await world.key("bob", ORDERS)
    async with behind_middleware(world, sdk_app(ApiKeyTokenVerifier(user_id="ada"))) as http:
        assert (await post(http, bobs, path="/u/bob/orders/mcp")).status_code == 401


async def test_behind_the_middleware_its_own_alias_holds_too(world: World) -> None:
    _, key = await world.key(requested=ORDERS)
    for alias, status in (("orders", 200), ("notes", 401)):
        async with behind_middleware(world, sdk_app(ApiKeyTokenVerifier(world.ring.verifier, alias=alias))) as http:
            assert (await post(http, key)).status_code == status


async def test_alone_it_takes_nobody_for_bad_while_the_store_does_not_answer(world: World) -> None:
    _, key = await world.key(requested=ORDERS)
    verifier = ApiKeyTokenVerifier(world.ring.verifier, alias="orders")
    world.sql("ALTER TABLE secrets RENAME TO gone")
    with pytest.raises(StoreUnavailableError):
        await verifier.verify_token(key.reveal())
    async with started(sdk_app(verifier)) as http:
        assert (await post(http, key)).status_code == 500


async def test_a_verifier_and_its_alias_come_together(world: World) -> None:
    with pytest.raises(ValueError, match="neither"):
        ApiKeyTokenVerifier(alias="orders")
    with pytest.raises(ValueError, match="neither"):
        ApiKeyTokenVerifier(world.ring.verifier)
    with pytest.raises(InvalidFieldError, match="^alias: "):
        ApiKeyTokenVerifier(world.ring.verifier, alias="ORDERS")
    with pytest.raises(InvalidFieldError, match="^user_id: "):
        ApiKeyTokenVerifier(user_id="ADA")


async def test_a_stream_that_listens_ends_with_its_key(world: World) -> None:
    record, key = await world.key(requested=ORDERS)
    with anyio.fail_after(20):
        async with behind_middleware(world, sdk_app(ApiKeyTokenVerifier())) as http:
            session = (await post(http, key)).headers["mcp-session-id"]
            headers = {"x-api-key": key.reveal(), "accept": "text/event-stream", "mcp-session-id": session}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen, http, headers)
                while not len(world.ring.open_responses):
                    await anyio.sleep(0.01)
                await world.ring.administration.revoke_key(record.key_id, reason=None)


async def listen(http: httpx2.AsyncClient, headers: Mapping[str, str]) -> None:
    # A response that is cut is an assertion of the transport's, which stands in for the closed connection.
    with pytest.raises(AssertionError):
        await http.get(MINE, headers=headers)


async def test_a_response_that_is_bound_to_no_endpoint_says_nothing_of_what_its_key_opens(world: World) -> None:
    _, key = await world.key()
    principal = await world.ring.verifier.verify(key.reveal())
    verifier = ApiKeyTokenVerifier(world.ring.verifier, alias="keys")
    outer = CURRENT.set(OpenResponse(key.prefix, principal))
    try:
        token = await verifier.verify_token(key.reveal())
        assert token == access_token(principal, "keys")
        assert token.claims == {"iss": "urn:mcp-keys:ada/keys"}  # of which the SDK binds sessions to "iss" only
        assert await verifier.verify_token("forged") is None
    finally:
        CURRENT.reset(outer)


async def test_a_good_key_that_does_not_open_the_alias_is_a_line_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    record, key = await world.key(requested=RequestedGrant(aliases=frozenset({"notes"})))
    assert await ApiKeyTokenVerifier(world.ring.verifier, alias="keys").verify_token(key.reveal()) is None
    assert f"refused: not opened by this key key_id={record.key_id} user_id=ada" in caplog.messages
