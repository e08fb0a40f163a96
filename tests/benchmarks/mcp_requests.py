"""The requests of a tool call as they go over the wire, in both eras of the protocol."""

import json
from collections.abc import Mapping

TOOL = "noop"
ANSWER = "nothing was done"
"""What the tool says: in every good answer, and in no other."""

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

_HEADERS_OF_ERA: Mapping[str, Mapping[str, str]] = {
    MODERN: {"mcp-method": "tools/call", "mcp-name": TOOL},
    LEGACY: {},
}
_META_OF_ERA: Mapping[str, Mapping[str, object]] = {
    MODERN: {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
    LEGACY: {},
}


def tool_call(
    era: str, *, port: int, path: str, key: str | None, session: str | None = None, request_id: int = 1
) -> bytes:
    """The request with the headers that the official Python client sends."""
    params = {"name": TOOL, "arguments": {}, **_META_OF_ERA[era]}
    call = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    body = json.dumps(call, separators=(",", ":"))
    headers = {
        "host": f"127.0.0.1:{port}",
        "accept-encoding": "gzip, deflate",
        "connection": "keep-alive",
        "user-agent": "mcp-keys-server-benchmark",
        **({} if key is None else {"authorization": f"Bearer {key}"}),
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": era,
        **({} if session is None else {"mcp-session-id": session}),
        **_HEADERS_OF_ERA[era],
        "content-length": str(len(body)),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", body]
    return "\r\n".join(lines).encode("ascii")
