"""The HTTP application, wired."""

from collections import ChainMap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from limits import RateLimitItemPerMinute
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from mcp_keys_server.auth.answers import HOW_TO_SEND_A_KEY, UNAVAILABLE
from mcp_keys_server.auth.guard import KeyGuard, principal_of
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.counters import Counters
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.records import Principal
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.calls_at_once import CallsAtOnce
from mcp_keys_server.server.client_config import Endpoint as ConfiguredEndpoint
from mcp_keys_server.server.delivery import Delivery, InlineDelivery
from mcp_keys_server.server.endpoints import Endpoint, Endpoints
from mcp_keys_server.server.gateway.gateway import Gateway
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.introspection import Introspection
from mcp_keys_server.server.key_tools import KeyTools
from mcp_keys_server.server.link_delivery import LinkDelivery
from mcp_keys_server.server.pages.app import build_pages
from mcp_keys_server.server.pages.signing_in import KEYS_PAGE
from mcp_keys_server.server.plain_errors import PlainErrors
from mcp_keys_server.server.tool_server import Context, build_tool_server
from mcp_keys_server.server.trusted_proxies import TrustedProxies
from mcp_keys_server.server.verification import Verification
from mcp_keys_server.settings import Settings, SettingsError

LARGEST_BODY = 256 * 1024
"""Bytes; the longest call of a key tool is some thousands."""

_NO_OAUTH = (
    f"This server uses API keys, not OAuth. {HOW_TO_SEND_A_KEY} If you sent one, it is mistyped, expired or revoked."
)


def build_app(  # noqa: PLR0913 - each is a part that may be another's, given by name
    ring: KeyRing,
    policy: HostPolicy,
    settings: Settings,
    *,
    counters: Counters | None = None,
    gateway: Gateway | None = None,
    clock: Clock = utc_now,
) -> Starlette:
    """The application for this key ring, which counts in other counters than its if there are. Whoever opened them
    closes them. The gateway runs as long as the application does.

    Raises:
        SettingsError: Keys are to be delivered in a way that is not for HTTP.
    """
    counters = counters or ring.counters
    gateway = gateway or Gateway(ring, policy, settings, clock=clock)
    sessions = StreamableHTTPSessionManager(
        build_tool_server(_key_tools(ring, policy, settings, clock), _principal_of_request),
        # Stateless: a key is checked on every request, and there is no session that could be ridden or exhausted.
        stateless=True,
        json_response=True,
        security_settings=policy.for_sdk(),
        max_request_body_size=LARGEST_BODY,
    )
    calls = Throttle("calls", RateLimitItemPerMinute(settings.calls_per_minute), counters)
    visits = Throttle("visits", RateLimitItemPerMinute(settings.calls_per_minute), counters)
    failures = Throttle("failures", RateLimitItemPerMinute(settings.failures_per_minute), counters)

    def guarded(behind: ASGIApp) -> KeyGuard:
        return KeyGuard(behind, ring.verifier, ring.open_responses, failures, over_socket=True)

    keys = Endpoint(CallsAtOnce(PlainErrors(AuthContextMiddleware(sessions.asgi_app))))
    endpoints = guarded(Endpoints(ChainMap({KEYS_ALIAS: keys}, gateway.endpoints), calls))
    verification = guarded(Verification(calls))
    introspection = guarded(Introspection(ring.verifier, ring.manager, policy.public_url, calls))

    async def readiness(_: Request) -> Response:
        try:
            await ring.store.check()
        except StoreUnavailableError:
            return UNAVAILABLE
        return JSONResponse({"status": "ready"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run(), gateway.run():
            yield

    interfaces = Starlette(
        routes=[
            Mount("/u", endpoints),
            Route("/", _to_the_pages),
            Route("/keys", _to_the_pages),
            Route("/healthz", _health),
            Route("/readyz", readiness),
            Route("/register", _no_registration, methods=["POST"]),
            Route("/.well-known/{rest:path}", _no_metadata, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
        middleware=[
            # Outside of all that refuses, so that web applications that are allowed to call can read refusals.
            Middleware(
                CORSMiddleware,
                allow_origins=policy.plain_origins(),
                allow_origin_regex=policy.origins_of_any_port(),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
            ),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    # A redirect would be made of the Host header, which is the caller's.
    interfaces.router.redirect_slashes = False
    app = Starlette(
        # None but the interfaces are for scripts of web pages, so what says whose may read them is not for the others:
        # least of all for what proxies ask, where the answer to a preflight would let its request in.
        routes=[
            Mount("/keys", build_pages(ring, policy, counters, visits, clock=clock)),
            Route("/verify", verification),
            Mount("/verify", verification),
            Route("/introspect", introspection),
            Mount("/", interfaces),
        ],
        middleware=[
            Middleware(
                TrustedProxies, addresses=settings.trusted_proxy_addresses, user_header=settings.trusted_user_header
            ),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _key_tools(ring: KeyRing, policy: HostPolicy, settings: Settings, clock: Clock) -> KeyTools:
    def endpoint(user_id: str, alias: str) -> ConfiguredEndpoint:
        return ConfiguredEndpoint(policy.public_url + endpoint_path(user_id, alias))

    delivery: Delivery
    match settings.secret_delivery:
        case "file":
            raise SettingsError("secret_delivery: file is for stdio; over HTTP the file would be on the server")
        case "inline":
            delivery = InlineDelivery(ring.manager, clock=clock)
        case _:
            delivery = LinkDelivery(ring.manager, policy.public_url, clock=clock)
    return KeyTools(ring.manager, delivery, endpoint, clock=clock)


async def _to_the_pages(_: Request) -> Response:
    return RedirectResponse(KEYS_PAGE, 303)


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
