"""What a reverse proxy says about a request, believed only from proxies that the operator has named."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_USER: Final = "mcp_keys.user_named_by_proxy"


class TrustedProxies:
    """Takes the client's address from ``X-Forwarded-For``, and the user from the operator's header, where the request
    comes from a trusted proxy; from anybody else, both say nothing.
    """

    def __init__(self, app: ASGIApp, addresses: Sequence[str], user_header: str | None) -> None:
        self._networks = [ipaddress.ip_network(address) for address in addresses]
        self._user_header = user_header
        # uvicorn types the same protocol in its own words.
        self._app = cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", app), list(addresses)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._user_header and self._is_trusted(scope):
            named = Headers(scope=scope).getlist(self._user_header)
            if named:
                # Of several, which is the proxy's and which the client's cannot be told: nobody's name.
                scope[_USER] = named[0] if len(named) == 1 else ""
        await self._app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def user_named_by_proxy(scope: Scope) -> str | None:
    """The user id or e-mail that a trusted proxy gave with the request, untrusted in its form."""
    named = scope.get(_USER)
    return named if isinstance(named, str) else None
