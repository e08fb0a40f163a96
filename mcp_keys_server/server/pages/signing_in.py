"""Signing in, by showing a key that is good, and signing out."""

import logging
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mcp_keys_server.auth.line_budget import LineBudget
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.errors import InvalidApiKeyError, NotPermittedError
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.server.pages.forms import form_route, read_form
from mcp_keys_server.server.pages.rendering import page
from mcp_keys_server.server.pages.visitors import NotSignedInError, Visitors

logger = logging.getLogger(__name__)

KEYS_PAGE: Final = "/keys/"
# Only pages of ours, or a link could lead from the sign-in to anywhere.
_PAGE = re.compile(r"/keys/(key_[0-9a-f]{16}/(claim|revoke|rename))?")


class SignInPages:
    """``/keys/sign-in`` and ``/keys/sign-out``."""

    def __init__(self, verifier: KeyVerifier, visitors: Visitors, throttle: Throttle, lines: LineBudget) -> None:
        self._verifier = verifier
        self._visitors = visitors
        self._throttle = throttle
        self._lines = lines

    def routes(self) -> list[Route]:
        return [
            form_route("/sign-in", self.show, self.sign_in),
            Route("/sign-out", self.sign_out, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        wanted = own_page(request.query_params.get("next", ""))
        try:
            await self._visitors.actor(request)
        except NotSignedInError:
            return page("sign_in.html", next=wanted, error="")
        return RedirectResponse(wanted, 303)

    async def sign_in(self, request: Request) -> Response:
        form = await read_form(request)
        wanted, client = own_page(form.text("next")), client_address(request.scope)
        response = RedirectResponse(wanted, 303)
        try:
            principal = await self._verifier.verify(form.text("key").strip(), client=client)
        except InvalidApiKeyError as refused:
            return await self._refuse(refused, wanted, client)
        who = f"key_id={principal.key_id} user_id={principal.user_id} client={client}"
        try:
            await self._visitors.sign_in(request, response, principal)
        except NotPermittedError as refused:
            if self._lines.take(f"client={network_of(client)}"):
                logger.info("sign-in refused: not for keys %s", who)
            return page("sign_in.html", 403, next=wanted, error=str(refused))
        logger.info("signed in: %s", who)
        return response

    async def _refuse(self, refused: InvalidApiKeyError, wanted: str, client: str) -> Response:
        # Counted only now: whoever has a good key gets in, whatever others do from the same address.
        network = network_of(client)
        seconds = await self._throttle.take(network)
        if self._lines.take(f"client={network}"):
            known = "" if refused.key_id is None else f" key_id={refused.key_id} user_id={refused.user_id}"
            logger.info("sign-in refused: %s%s client=%s", refused.refusal, known, client)
        if seconds:
            error = f"Too many tries have failed from your network address. Wait {seconds} seconds, then try again."
            answer = page("sign_in.html", 429, next=wanted, error=error)
            answer.headers["retry-after"] = str(seconds)
            return answer
        error = "This is not a valid API key: it is mistyped or cut off, or it has expired or was revoked."
        return page("sign_in.html", 403, next=wanted, error=error)

    async def sign_out(self, request: Request) -> Response:
        response = RedirectResponse("/keys/sign-in", 303)
        await self._visitors.sign_out(request, response)
        return response


def own_page(wanted: str) -> str:
    """The page itself if it is one to come back to; else the list of keys, and nothing of what was wanted."""
    return wanted if _PAGE.fullmatch(wanted) else KEYS_PAGE
