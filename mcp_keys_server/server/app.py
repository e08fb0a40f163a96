"""The HTTP application, wired."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from mcp_keys_server.auth.answers import HOW_TO_SEND_A_KEY, UNAVAILABLE
from mcp_keys_server.auth.guard import KeyGuard, principal_of
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.records import Principal
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.endpoints import Endpoints
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.key_tools import KeyTools
from mcp_keys_server.server.tool_server import Context, build_tool_server

LARGEST_BODY = 256 * 1024
"""Bytes; the longest call of a key tool is some thousands."""

_NO_OAUTH = (
    f"This server uses API keys, not OAuth. {HOW_TO_SEND_A_KEY} If you sent one, it is mistyped, expired or revoked."
)


def build_app(ring: KeyRing, policy: HostPolicy) -> Starlette:
    """The application for this key ring. Whoever opened the ring closes it."""
    sessions = StreamableHTTPSessionManager(
        build_tool_server(KeyTools(ring.manager), _principal_of_request),
        # Stateless: a key is checked on every request, and there is no session that could be ridden or exhausted.
        stateless=True,
        json_response=True,
        security_settings=policy.for_sdk(),
        max_request_body_size=LARGEST_BODY,
    )
    endpoints = Endpoints({KEYS_ALIAS: AuthContextMiddleware(sessions.asgi_app)})

    async def readiness(_: Request) -> Response:
        try:
            await ring.store.check()
        except StoreUnavailableError:
            return UNAVAILABLE
        return JSONResponse({"status": "ready"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    app = Starlette(
        routes=[
            Mount("/u", KeyGuard(endpoints, ring.verifier)),
            Route("/healthz", _health),
            Route("/readyz", readiness),
            Route("/register", _no_registration, methods=["POST"]),
            Route("/.well-known/{rest:path}", _no_metadata, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
        # Outermost, so that refusals can be read by the pages that are allowed to call.
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=policy.plain_origins(),
                allow_origin_regex=policy.origins_of_any_port(),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
            )
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
        lifespan=lifespan,
    )
    # A redirect would be made of the Host header, which is the caller's.
    app.router.redirect_slashes = False
    return app


async def _principal_of_request(context: Context) -> Principal:
    assert context.request is not None  # noqa: S101 - over HTTP there is always one
    return principal_of(context.request.scope)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_registration(_: Request) -> Response:
    # Where clients turn after a 401, and whose text they show: so it is here that a person reads what to do.
    return _error(403, "invalid_request", _NO_OAUTH)


async def _no_metadata(_: Request) -> Response:
    return _error(404, "not_found", _NO_OAUTH)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for no other
    return _error(
        error.status_code,
        "not_found" if error.status_code == 404 else "invalid_request",  # noqa: PLR2004
        f"{error.detail}. The endpoints here are /u/USER_ID/ALIAS/mcp.",
        dict(error.headers or {}),
    )


async def _server_error(_: Request, __: Exception) -> Response:
    return _error(500, "server_error", "Something went wrong here; the server's log has the details.")


def _error(status: int, code: str, description: str, headers: dict[str, str] | None = None) -> Response:
    """An error in the form that clients know who look for OAuth here (RFC 6749 section 5.2)."""
    body = {"error": code, "error_description": description}
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})
