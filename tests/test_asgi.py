import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mcp_keys_server import ApiKey, InvalidFieldError, Principal, RequestedGrant, open_key_ring
from mcp_keys_server.asgi import ApiKeyMiddleware, current_principal, require_scopes
from tests.conftest import KEY
from tests.world import World

pytestmark = pytest.mark.anyio

ORDERS = RequestedGrant(scopes=frozenset({"orders:read"}), aliases=frozenset({"orders"}))
NOTES = RequestedGrant(aliases=frozenset({"notes"}))
may_read_orders = require_scopes("orders:read", "orders:write")


async def show(request: Request) -> Response:
    principal = await current_principal(request)
    headers = {name.decode(): value.decode() for name, value in request.scope["headers"]}
    return JSONResponse({"user": principal.user_id, "headers": headers})


async def orders(request: Request) -> Response:
    return JSONResponse((await may_read_orders(request)).user_id)


async def health(_: Request) -> Response:
    return Response()


def starlette_app(middleware: Middleware) -> Starlette:
    routes = [
        Route("/", show, methods=["GET", "POST"]),
        Route("/u/{user}/{name}", show),
        Route("/orders", orders),
        Route("/healthz", health),
        Route("/whose", show),
    ]
    return Starlette(routes=routes, middleware=[middleware])


def fastapi_app(middleware: Middleware) -> FastAPI:
    app = FastAPI(middleware=[middleware])

    @app.get("/")
    async def shown(principal: Annotated[Principal, Depends(current_principal)], request: Request) -> dict[str, Any]:
        return {"user": principal.user_id, "headers": dict(request.headers)}

    @app.get("/orders")
    async def permitted(principal: Annotated[Principal, Depends(may_read_orders)]) -> str:
        return principal.user_id

    @app.get("/healthz")
    async def healthy() -> None: ...

    @app.get("/whose")
    async def whose(_: Annotated[Principal, Depends(current_principal)]) -> None: ...

    return app


IN_EACH = pytest.mark.parametrize("build", [starlette_app, fastapi_app])
Build = Callable[[Middleware], ASGIApp]


def client_of(app: ASGIApp) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.7", 4711))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


async def get(app: ASGIApp, key: ApiKey | str | None = None, path: str = "/") -> httpx2.Response:
    presented = key.reveal() if isinstance(key, ApiKey) else key
    async with client_of(app) as http:
        return await http.get(path, headers={} if presented is None else {"x-api-key": presented})


async def test_what_is_committed_within_one_turn_of_the_loop_holds_for_the_next_request(world: World) -> None:
    _, key = await world.key(requested=ORDERS)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    app = ApiKeyMiddleware(application, world.ring, alias="orders")
    assert (await get(app, key)).status_code == 200
    world.sql("UPDATE keys SET disabled_at = '2026-01-01T00:00:00.000000+00:00'")
    assert (await get(app, key)).status_code == 401


@IN_EACH
async def test_a_key_that_opens_the_alias_is_let_in_with_its_principal(world: World, build: Build) -> None:
    app = build(Middleware(ApiKeyMiddleware, world.ring, alias="orders"))
    for requested in (ORDERS, RequestedGrant()):
        _, key = await world.key(requested=requested)
        assert (await get(app, key)).json()["user"] == "ada"
    _, other = await world.key(requested=NOTES)
    refused = await get(app, other)
    assert refused.status_code == 403
    assert "www-authenticate" not in refused.headers
    assert (await get(app)).status_code == 401
    assert (await get(app, "forged")).status_code == 401


@IN_EACH
async def test_the_key_goes_no_further(world: World, build: Build) -> None:
    record, key = await world.key()
    app = build(Middleware(ApiKeyMiddleware, world.ring, alias="orders"))
    for header in ({"x-api-key": key.reveal()}, {"authorization": f"bearer {key.reveal()}"}):
        async with client_of(app) as http:
            seen = (await http.get("/", headers=header)).json()["headers"]
        assert seen["authorization"] == f"Bearer {record.key_id}"
        assert "x-api-key" not in seen
        assert not KEY.search(str(seen))


@IN_EACH
async def test_open_paths_need_no_key_and_have_one_spelling(world: World, build: Build) -> None:
    app = build(Middleware(ApiKeyMiddleware, world.ring, alias="orders", open_paths=["/healthz"]))
    assert (await get(app, path="/healthz")).status_code == 200
    assert (await get(app, "forged", "/healthz?x=1")).status_code == 200
    for path in ("/healthz/", "/health%7a", "//healthz", "/healthz/../orders", "/orders"):
        assert (await get(app, path=path)).status_code == 401, path


@IN_EACH
async def test_scopes_are_all_needed(world: World, build: Build) -> None:
    app = build(Middleware(ApiKeyMiddleware, world.ring, alias="orders"))
    _, reads = await world.key(requested=ORDERS)
    _, both = await world.key(requested=RequestedGrant(scopes=frozenset({"orders:read", "orders:write"})))
    assert (await get(app, both, "/orders")).json() == "ada"
    refused = await get(app, reads, "/orders")
    assert (refused.status_code, "orders:write" in refused.text) == (403, True)


@IN_EACH
async def test_where_there_is_no_principal_nobody_is_taken_for_one(
    world: World, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    app = build(Middleware(ApiKeyMiddleware, world.ring, alias="orders", open_paths=["/whose"]))
    assert (await get(app, path="/whose")).status_code == 500
    with pytest.raises(RuntimeError, match="ApiKeyMiddleware"):
        await current_principal(Request({"type": "http"}))
    caplog.clear()


@IN_EACH
async def test_the_ring_may_come_from_the_lifespan(world: World, build: Build) -> None:
    _, key = await world.key()
    app = build(Middleware(ApiKeyMiddleware, alias="orders"))
    for _ in range(2):
        assert (await get(with_state(app, {"key_ring": world.ring}), key)).json()["user"] == "ada"
    assert (await get(app, key)).status_code == 500  # nobody is let in where there is none
    assert (await get(with_state(app, {"key_ring": None}), key)).status_code == 500


async def test_each_lifespan_may_open_a_ring_of_its_own(tmp_path: Path) -> None:
    keys: list[str] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[dict[str, object]]:
        async with open_key_ring(tmp_path / f"{len(keys)}.db", bcrypt_cost=4) as ring:
            await ring.administration.add_user("ada")
            _, made = await ring.administration.create_key("ada", name="A key", requested=ORDERS)
            keys.append(made.reveal())
            yield {"key_ring": ring}

    middleware = [Middleware(ApiKeyMiddleware, alias="orders")]
    app = Starlette(routes=[Route("/", show)], middleware=middleware, lifespan=lifespan)
    for _ in range(2):
        async with app.router.lifespan_context(app) as state:
            assert state is not None
            assert (await get(with_state(app, state), keys[-1])).json()["user"] == "ada"


def with_state(app: ASGIApp, state: Mapping[str, object]) -> ASGIApp:
    """As servers call an application whose lifespan yields this."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return called


async def test_the_start_of_the_application_needs_no_key(world: World) -> None:
    reached: list[str] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        reached.append(scope["type"])

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    await ApiKeyMiddleware(app, world.ring, alias="orders")({"type": "lifespan"}, receive, send)
    assert reached == ["lifespan"]


async def test_the_path_says_whose_and_which(world: World) -> None:
    app = starlette_app(Middleware(ApiKeyMiddleware, world.ring, path="/u/{user_id}/{alias}"))
    _, key = await world.key(requested=ORDERS)
    assert (await get(app, key, "/u/ada/orders")).status_code == 200
    for path in ("/u/ada/notes", "/u/bob/orders", "/u/%61da/orders", "/", "/u/ada/orders/"):
        assert (await get(app, key, path)).status_code == 403, path


@pytest.mark.parametrize(("alias", "path"), [(None, None), (None, "/u/{user_id}/mcp"), ("ORDERS", None)])
def test_without_an_alias_nothing_starts(alias: str | None, path: str | None) -> None:
    with pytest.raises((ValueError, InvalidFieldError)):
        ApiKeyMiddleware(Starlette(), alias=alias, path=path)


def test_a_scope_that_nobody_can_have_is_named() -> None:
    with pytest.raises(InvalidFieldError, match="^scopes: "):
        require_scopes("Orders")


async def test_a_refusal_is_a_line_that_says_who(world: World, caplog: pytest.LogCaptureFixture) -> None:
    record, key = await world.key(requested=NOTES)
    caplog.clear()
    await get(starlette_app(Middleware(ApiKeyMiddleware, world.ring, alias="orders")), key)
    assert ("mcp_keys_server.asgi", logging.INFO) in {(name, level) for name, level, _ in caplog.record_tuples}
    assert f"refused: not opened by this key key_id={record.key_id} user_id=ada client=192.0.2.7" in caplog.messages


async def test_failures_are_counted_by_address(world: World) -> None:
    app = starlette_app(Middleware(ApiKeyMiddleware, world.ring, alias="orders", failures_per_minute=1))
    _, key = await world.key()
    assert [(await get(app, "x")).status_code for _ in range(2)] == [401, 429]
    assert (await get(app, key)).status_code == 200


async def test_a_store_that_does_not_answer_is_503(world: World) -> None:
    _, key = await world.key()
    world.sql("ALTER TABLE secrets RENAME TO gone")
    assert (await get(starlette_app(Middleware(ApiKeyMiddleware, world.ring, alias="orders")), key)).status_code == 503


async def test_what_is_being_answered_ends_with_its_key_and_with_its_alias(world: World) -> None:
    ended: list[str] = []

    async def stream(request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            yield b"begun\n"
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.append((await current_principal(request)).key_id)

        return StreamingResponse(lines())

    middleware = [Middleware(ApiKeyMiddleware, world.ring, alias="orders")]
    app = Starlette(routes=[Route("/", stream)], middleware=middleware)
    revoked, revoked_key = await world.key()
    narrowed, narrowed_key = await world.key()
    with anyio.fail_after(10):
        for record, key in ((revoked, revoked_key), (narrowed, narrowed_key)):
            begun = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sent, app, "http", key)
                await begun.wait()
                if record is revoked:
                    await world.ring.administration.revoke_key(record.key_id, reason=None)
                else:
                    await world.ring.administration.update_key(record.key_id, requested=NOTES)
    assert ended == [revoked.key_id, narrowed.key_id]


async def test_a_websocket_is_let_in_by_the_same_rule(world: World) -> None:
    may_read = require_scopes("orders:read")

    async def greet(websocket: WebSocket) -> None:
        principal = await may_read(websocket)
        await websocket.accept()
        await websocket.send_text(principal.user_id)
        await websocket.close()

    _, key = await world.key(requested=ORDERS)
    _, other = await world.key(requested=NOTES)
    middleware = [Middleware(ApiKeyMiddleware, world.ring, alias="orders")]
    app = Starlette(routes=[WebSocketRoute("/", greet)], middleware=middleware)
    assert [message.get("text") for message in await sent(app, "websocket", key)] == [None, "ada", None]
    assert (await sent(app, "websocket", other))[0]["status"] == 403


async def sent(app: ASGIApp, kind: str, key: ApiKey) -> list[Message]:
    """All that the application sends in answer to a request of this kind."""
    messages: list[Message] = []

    incoming = iter([{"type": "websocket.connect" if kind == "websocket" else "http.request"}])

    async def receive() -> Message:
        for message in incoming:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    scope: Scope = {"type": kind, "method": "GET", "path": "/", "query_string": b""}
    scope["headers"] = [(b"x-api-key", key.reveal().encode())]
    await app({**scope, "extensions": {"websocket.http.response": {}}}, receive, send)
    return messages
