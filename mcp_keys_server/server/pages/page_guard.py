"""What holds for every page: under which names it answers, who may send it a form, and what browsers are told."""

import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_keys_server.auth.line_budget import LineBudget
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.server.host_policy import HostPolicy
from mcp_keys_server.server.pages.rendering import page

logger = logging.getLogger(__name__)

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Not "no-referrer", with which browsers send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_ONLY_HTTPS: Final = "max-age=31536000"


class PageGuard:
    """Stands before the pages, and refuses what reached them in another site's name.

    A page of another site can make its visitor's browser send us a form. The browser says so, in a header that pages
    cannot set (Fetch Metadata, ``Sec-Fetch-Site``); of one that does not, the Origin must be the very host that it
    sends the form to.
    """

    def __init__(self, app: ASGIApp, policy: HostPolicy, lines: LineBudget) -> None:
        self._app = app
        self._policy = policy
        self._lines = lines
        self._headers = dict(_HEADERS)
        # A server that is told nothing of HTTPS may stand behind a proxy that speaks it.
        self._schemes = ["http", "https"]
        if policy.public_url.startswith("https://"):
            self._schemes = ["https"]
            self._headers["strict-transport-security"] = _ONLY_HTTPS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "no-store")
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        app = self._app
        if not self._policy.answers(headers.get("host", "")):
            self._log("a page under another name", scope)
            app = _wrong_host()
        elif scope["method"] not in ("GET", "HEAD") and not self._is_own_form(headers):
            self._log("a form of another site", scope)
            app = _foreign_form()
        await app(scope, receive, send_guarded)

    def _log(self, what: str, scope: Scope) -> None:
        client = client_address(scope)
        if self._lines.take(f"client={network_of(client)}"):
            logger.info("refused: %s client=%s", what, client)

    def _is_own_form(self, headers: Headers) -> bool:
        sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if sites:
            return sites == ["same-origin"]
        # Compared whole: an origin that is taken apart first may be one that cannot be.
        return origins in [[f"{scheme}://{headers['host']}"] for scheme in self._schemes]


def _wrong_host() -> Response:
    text = "Its operator can set public_url or allowed_hosts, if it should be."
    return page("message.html", 421, heading="This server is not known under this name", text=text)


def _foreign_form() -> Response:
    text = "It did not come from a page of this server. Open the page anew and try again."
    return page("message.html", 403, heading="Nothing was done", text=text)
