"""The pages, wired."""

import logging
from functools import partial
from pathlib import Path
from typing import Final

from limits import parse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from mcp_keys_server.auth.answers import SECONDS_TO_RETRY_AFTER
from mcp_keys_server.auth.line_budget import LineBudget
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.counters import Counters
from mcp_keys_server.core.errors import (
    InvalidFieldError,
    InvitationNotFoundError,
    KeyNoLongerGoodError,
    KeyNotFoundError,
    NotPermittedError,
    StoreUnavailableError,
    TooBusyError,
    TooManyChangesError,
)
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.pages.claiming import ClaimPages
from mcp_keys_server.server.pages.invited import InvitationPages
from mcp_keys_server.server.pages.own_keys import KeyPages
from mcp_keys_server.server.pages.page_guard import PageGuard
from mcp_keys_server.server.pages.rendering import page
from mcp_keys_server.server.pages.signing_in import SignInPages, own_page
from mcp_keys_server.server.pages.visitors import NotSignedInError, TooManyVisitsError, UnknownPersonError, Visitors

logger = logging.getLogger(__name__)

SIGN_INS: Final = parse("10 per 5 minutes")
"""That failed, from one network address."""
CLAIMS: Final = parse("60 per hour")
"""Of one key: each takes a bcrypt."""

# What each error says to the visitor: status, heading and text. None: the error's own sentence.
_PAGES: Final[dict[type[Exception], tuple[int, str, str | None]]] = {
    StoreUnavailableError: (
        503,
        "Try again in a moment",
        "The key database does not answer. If this was to change something, your keys will show whether it did.",
    ),
    TooBusyError: (
        503,
        "Try again in a moment",
        "Many keys are being checked for the first time, and yours waits for that.",
    ),
    UnknownPersonError: (
        403,
        "You have no keys here",
        "You are signed in, but not as a user of this server. Ask whoever runs it to add you.",
    ),
    KeyNotFoundError: (404, "There is nothing here", "You have no such key. Perhaps it is somebody else's."),
    InvitationNotFoundError: (
        404,
        "This invitation is not known",
        "Its link is mistyped or cut off, or it is too old. Ask whoever sent it for a new one.",
    ),
    NotPermittedError: (403, "Your key may not do this", None),
    KeyNoLongerGoodError: (403, "Your key may not do this", None),
    TooManyChangesError: (429, "Not so fast", None),
    TooManyVisitsError: (429, "Not so fast", "You have asked for very many pages. Wait a minute, then try again."),
    InvalidFieldError: (404, "There is nothing here", "This address is mistyped or cut off."),
}


def build_pages(
    ring: KeyRing, policy: HostPolicy, counters: Counters, visits: Throttle, *, clock: Clock = utc_now
) -> ASGIApp:
    """All that is below ``/keys``. Visits are of one key or person from one network address, sign-ins too."""
    claims = Throttle("claims", CLAIMS, counters)
    visitors = Visitors(ring.sessions, ring.store, visits, https=policy.public_url.startswith("https://"))
    lines = LineBudget()
    app = Starlette(
        routes=[
            *SignInPages(ring.verifier, visitors, Throttle("sign-ins", SIGN_INS, counters), lines).routes(),
            *InvitationPages(ring.invitations, policy.public_url, clock=clock).routes(),
            *KeyPages(ring.manager, visitors, clock=clock).routes(),
            *ClaimPages(ring.manager, visitors, claims, policy.public_url, clock=clock).routes(),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        exception_handlers={
            **dict.fromkeys(_PAGES, partial(_explain, lines)),
            NotSignedInError: _ask_to_sign_in,
            HTTPException: _http_error,
            Exception: _crashed,
        },
    )
    # A redirect would be made of the Host header, which is the caller's.
    app.router.redirect_slashes = False
    return PageGuard(app, policy, lines)


async def _explain(lines: LineBudget, request: Request, error: Exception) -> Response:
    client = client_address(request.scope)
    if lines.take(f"client={network_of(client)}"):
        if isinstance(error, StoreUnavailableError):
            logger.error("a page cannot be shown: %s", error)
        else:
            logger.info("refused: %s client=%s", error, client)
    status, heading, text = _PAGES[type(error)]
    answer = page("message.html", status, heading=heading, text=text or f"{error}.")
    if status == 503:  # noqa: PLR2004
        answer.headers["retry-after"] = str(SECONDS_TO_RETRY_AFTER)
    if isinstance(error, TooManyChangesError | TooManyVisitsError):
        answer.headers["retry-after"] = str(error.seconds)
    return answer


async def _ask_to_sign_in(request: Request, _: Exception) -> Response:
    return RedirectResponse(f"/keys/sign-in?next={own_page(request.scope['path'])}", 303)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for no other
    heading = "There is nothing here" if error.status_code == 404 else "This cannot be done"  # noqa: PLR2004
    answer = page("message.html", error.status_code, heading=heading, text=f"{error.detail}.")
    answer.headers.update(error.headers or {})
    return answer


async def _crashed(_: Request, __: Exception) -> Response:
    text = "Something went wrong on this server; its log has the details."
    return page("message.html", 500, heading="That did not work", text=text)
