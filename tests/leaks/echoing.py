"""Upstreams that say all that they know: a program over standard input and output, and a server somewhere else."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answer(asked: dict[str, Any], known: object) -> dict[str, Any] | None:
    """To a message of the handshake era; None: it is none that is answered."""
    if "id" not in asked or "method" not in asked:
        return None
    results: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echoing", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": json.dumps(known)}]},
    }
    said: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] in results:
        return said | {"result": results[asked["method"]]}
    return said | {"error": {"code": -32601, "message": f"Method not found; heard {json.dumps(known)}"}}


def speak() -> None:
    for line in sys.stdin:
        known = {"argv": sys.argv, "env": dict(os.environ), "line": line}
        print("heard", line, file=sys.stderr, flush=True)  # noqa: T201 - which goes to the gateway's log
        said = answer(json.loads(line), known)
        if said is not None:
            print(json.dumps(said), flush=True)  # noqa: T201 - how it speaks


@dataclass
class Elsewhere:
    url: str
    heard: list[str] = field(default_factory=list)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A server in a thread of its own, with all that it has heard."""
    there = Elsewhere("")

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length).decode()
            known = {"line": self.requestline, "headers": self.headers.items(), "body": body}
            there.heard.append(json.dumps(known))
            said = answer(json.loads(body), known) if body else None
            content = b"" if said is None else json.dumps(said).encode()
            self.send_response(202 if said is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET = do_DELETE = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            there.heard.append(format % args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    there.url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    speak()
