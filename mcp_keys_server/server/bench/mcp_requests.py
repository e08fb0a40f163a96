"""A call of a tool as it goes over the wire, in both eras of the protocol."""

import json
from collections.abc import Mapping
from typing import Final

TOOL: Final = "whoami"
ANSWER: Final = '"user_id"'
"""What stands in every good answer, and in no other."""

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"

_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    MODERN: {"mcp-method": "tools/call", "mcp-name": TOOL},
    LEGACY: {},
}
_META: Final[Mapping[str, Mapping[str, object]]] = {
    MODERN: {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "mcp-keys-server bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
    LEGACY: {},
}


def tool_call(protocol: str, *, port: int, path: str, key: str) -> str:
    """The request with the headers that the official Python client sends."""
    params = {"name": TOOL, "arguments": {}, **_META[protocol]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(call, separators=(",", ":"))
    headers = {
        "host": f"127.0.0.1:{port}",
        "accept-encoding": "gzip, deflate",
        "connection": "keep-alive",
        "user-agent": "mcp-keys-server-bench",
        "authorization": f"Bearer {key}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": protocol,
        **_HEADERS[protocol],
        "content-length": str(len(body)),
    }
    lines = (f"{name}: {value}" for name, value in headers.items())
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", body])
