"""Keys put where they do not belong, by people and programs that know no better."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.running_server import RunningServer
from tests.server.calls import MODERN

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
OWN_WORDS = "what a sender is told of their own words"
FORM = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}


def message(method: str, *, modern: bool, request_id: object = 1, **params: Any) -> dict[str, Any]:  # noqa: ANN401
    if modern:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        } | params.get("_meta", {})
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def era(method: str, name: str = "", *, modern: bool) -> dict[str, str]:
    if not modern:
        return ACCEPT
    named = {"mcp-name": name} if name else {}
    return ACCEPT | {"mcp-protocol-version": MODERN, "mcp-method": method} | named


def in_messages(key: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Method or tool, headers and body of messages to an MCP endpoint."""
    for modern in (False, True):
        for tool, arguments in (
            ("revoke_key", {"key_id": key}),
            ("get_key", {"key_id": key}),
            ("create_key", {"name": key}),
            ("create_key", {"name": "x", "scopes": [key], "aliases": [key], "tools": [f"keys:{key}"]}),
            ("update_key", {"key_id": "key_0123456789abcdef", "name": key}),
            ("client_config", {"client": key, "alias": key}),
            ("list_keys", {"cursor": key, key: key}),
            (key, {}),
            ("whoami", {}),
            ("echo", {"text": "nothing"}),
        ):
            headers = era("tools/call", tool, modern=modern)
            meta = {"progressToken": key, "secret": key, **in_trace(key)} if tool == "whoami" else {}
            body = message("tools/call", modern=modern, name=tool, arguments=arguments, _meta=meta)
            yield tool, headers, json.dumps(body)
        listing = era("tools/list", modern=modern)
        yield "tools/list", listing, json.dumps(message("tools/list", modern=modern, cursor=key))
        yield (
            "prompts/get",
            era("prompts/get", key, modern=modern),
            json.dumps(message("prompts/get", modern=modern, name=key)),
        )
        yield "method", era(key, modern=modern), json.dumps(message(key, modern=modern))
        for broken in ('{"jsonrpc": "2.0", "key": "' + key, f"[{key}]", f'"{key}"', f'{{"jsonrpc": "{key}", "id": 1}}'):
            yield "broken", listing, broken


def in_trace(key: str) -> dict[str, str]:
    """What a client tells of the trace that it is at."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return {"traceparent": traceparent, "tracestate": f"ours={key}", "baggage": f"user={key},{key}=x"}


def in_headers(key: str) -> list[dict[str, str]]:
    names = ["x-my-key", "user-agent", "referer", "x-forwarded-for", "x-user-id", "mcp-session-id", "last-event-id"]
    names += ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-key", "traceparent", "baggage", "accept"]
    names += ["content-type", "host", "x-request-id", "forwarded", "x-http-method-override", "accept-language"]
    headers = [{name: key} for name in names]
    headers += [{"origin": f"http://{key}.example"}, {"cookie": f"mcp_keys_session={key}; other={key}"}]
    return [*headers, {"authorization": f"Basic {key}"}, {"authorization": f"Bearer {key} {key}"}]


def in_paths(key: str) -> list[str]:
    escaped = "".join(f"%{byte:02x}" for byte in key.encode())
    paths = [f"/u/{key}/keys/mcp", f"/u/ada/{key}/mcp", f"/u/ada/keys/mcp?api_key={key}", f"/{key}", f"/u/{escaped}/x"]
    paths += [
        f"/keys/{key}/claim",
        f"/keys/{key}/revoke",
        f"/keys/{escaped}/rename",
        f"/keys/{key}",
        f"/keys/{escaped}",
    ]
    paths += [f"/keys/invitation/{key}", f"/keys/sign-in?next={key}", f"/keys/?after={key}&changed={key}"]
    paths += [f"/keys/static/{key}", f"/.well-known/{key}", f"/verify?alias={key}", f"/verify/alias/{key}"]
    return [*paths, f"/verify?endpoint={key}", f"/introspect?token={key}", f"/healthz?{key}", f"/verify/{key}"]


def in_forms(key: str) -> list[tuple[str, dict[str, str]]]:
    changed = {"name": key, "reason": key, "scopes": key, "aliases": key, "expires_in_days": key, "cascade": ""}
    paths = ["/keys/", "/keys/key_0123456789abcdef/rename", f"/keys/{key}/revoke", "/keys/sign-out", "/introspect"]
    return [*((path, changed) for path in paths), ("/keys/sign-in", {"next": key, "key": f"{key}x"})]


def as_garbage(server: RunningServer, key: str) -> bytes:
    """What the server says to what is no HTTP at all."""
    address = urlsplit(server.base_url)
    said = b""
    for request in (
        f"GET /{key} HTTP/9.9\r\n\r\n",
        f"{key}\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: x\r\n{key}\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {key}\r\n\r\n",
        f"POST /{key} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {key}\r\n\r\n",
        f"GET /{key} HTTP/1.1\r\nhost: x\r\nx: {key * 1000}\r\n\r\n",
        f"GET /{key}\x00\xff HTTP/1.1\r\nx-api-key: {key}\r\nhost\r\n\r\n",
    ):
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=20) as connection:
            connection.sendall(request.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            try:
                while part := connection.recv(65536):
                    said += part
            except ConnectionResetError:
                pass
    return said


class Careless:
    """Puts a key into all places but those for keys, with a good one where it belongs."""

    def __init__(self, http: httpx2.Client, key: str, good: dict[str, str]) -> None:
        self._http = http
        self._key = key
        self._good = good

    def send(self, method: str, path: str, **more: Any) -> None:  # noqa: ANN401 - the client's
        # Where a request is refused before it was read, the connection may end before its answer was.
        with suppress(httpx2.TransportError):
            self._http.request(method, path, **more)

    def send_everywhere(self, endpoints: list[str]) -> None:
        good = self._good
        for endpoint in endpoints:
            for what, headers, body in in_messages(self._key):
                quoted = {OWN_WORDS: True} if what in {"method", "broken"} else {}
                self.send("POST", endpoint, headers=headers | good, content=body, extensions=quoted)
        for headers in in_headers(self._key):
            for path in ("/u/ada/keys/mcp", "/keys/", "/verify?alias=keys"):
                self.send("POST", path, headers=ACCEPT | good | headers, content="{}")
                self.send("GET", path, headers=headers)
        for path in in_paths(self._key):
            for method in ("GET", "POST"):
                self.send(method, path, headers=FORM)
                self.send(method, path, headers=FORM | good)
        for path, fields in in_forms(self._key):
            self.send("POST", path, data=fields, headers=FORM)
            self.send("POST", path, data=fields, headers=FORM | good)
        self.send("POST", "/u/ada/keys/mcp", headers=good | {"x-crash": "please"})
