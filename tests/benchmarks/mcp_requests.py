"""The requests of a tool call as they go over the wire, in both eras of the protocol."""

import json
from collections.abc import Mapping

TOOL = "noop"
ANSWER = "nothing was done"
"""What the tool says: in every good answer, and in no other."""

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

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


NOTHING: Mapping[str, object] = {}


def tool_call(
    era: str,
    *,
    port: int,
    path: str,
    key: str | None,
    session: str | None = None,
    request_id: int = 1,
    tool: str = TOOL,
    arguments: Mapping[str, object] = NOTHING,
) -> bytes:
    """The request with the headers that the official Python client sends."""
    body = message(era, "tools/call", request_id=request_id, name=tool, arguments=arguments)
    headers_of_era = {"mcp-method": "tools/call", "mcp-name": tool} if era == MODERN else {}
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
        **headers_of_era,
        "content-length": str(len(body)),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", body]
    return "\r\n".join(lines).encode("ascii")


def message(era: str, method: str, *, request_id: int = 1, **params: object) -> str:
    """A request in JSON, on one line."""
    call = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, **_META_OF_ERA[era]}}
    return json.dumps(call, separators=(",", ":"))
