"""Calls of tools over HTTP, as either protocol era makes them."""

import json
from typing import Any

import httpx2

from mcp_keys_server import ApiKey

MODERN = "2026-07-28"


class Answer:
    """The JSON-RPC answer to a tool call."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._body: dict[str, Any] = response.json()

    @property
    def structured(self) -> dict[str, Any]:
        assert not self.is_error, self.text
        structured: dict[str, Any] = self._body["result"]["structuredContent"]
        return structured

    @property
    def is_error(self) -> bool:
        return bool(self._body["result"].get("isError"))

    @property
    def text(self) -> str:
        return str(self._body["result"]["content"][0]["text"])


async def post(
    http: httpx2.AsyncClient,
    key: ApiKey,
    tool: str = "whoami",
    arguments: dict[str, Any] | None = None,
    *,
    modern: bool = False,
    headers: dict[str, str] | None = None,
    meta: dict[str, Any] | None = None,
    path: str = "/u/ada/keys/mcp",
) -> httpx2.Response:
    params: dict[str, Any] = {"name": tool, "arguments": arguments or {}, "_meta": meta or {}}
    sent = {"X-API-Key": key.reveal(), "accept": "application/json, text/event-stream", **(headers or {})}
    if modern:
        sent |= {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        } | params["_meta"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    # As ASCII, in which even what is no text can be sent.
    return await http.post(path, headers=sent | {"content-type": "application/json"}, content=json.dumps(body))


async def call(
    http: httpx2.AsyncClient,
    key: ApiKey,
    tool: str,
    arguments: dict[str, Any] | None = None,
    *,
    modern: bool = False,
    path: str = "/u/ada/keys/mcp",
) -> Answer:
    response = await post(http, key, tool, arguments, modern=modern, path=path)
    assert response.status_code == 200, response.text
    return Answer(response)
