"""An upstream that starts at once, for it needs nothing but the standard library: ``python -I -S small_upstream.py``.

It speaks the protocol of the handshake era. Words after its name are what else it does: ``stubborn`` ends of nothing
but SIGKILL and has a child that does the same, ``hostile`` says what would move a terminal's cursor, ``changed``
describes its tool in other words; asked for its tools, ``crashing`` ends, ``slow`` says nothing, ``odd`` things in no
form that there is and ``refusing`` an error; ``endless`` always has one more page of resources.
"""

import json
import os
import signal
import sys
import time
from typing import Any

ARGUMENTS = sys.argv[1:]
NAME = "small\x1b[2J\u202e" if "hostile" in ARGUMENTS else "small"


def tools() -> list[dict[str, Any]]:
    described = "Another" if "changed" in ARGUMENTS else "What it is"
    schema = {"type": "object"}
    return [{"name": name, "description": described, "inputSchema": schema} for name in ("look", "create_key")]


def answer(method: str) -> dict[str, Any]:
    if method == "initialize":
        capabilities: dict[str, Any] = {"tools": {}, "resources": {}}
        info = {"name": NAME, "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
    if method == "tools/list" and "refusing" not in ARGUMENTS:
        return {"tools": 3 if "odd" in ARGUMENTS else tools()}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": str(os.getpid())}]}
    if method == "resources/list":
        resources = [{"uri": "small://one", "name": "one"}]
        return {"resources": resources, "nextCursor": "more"} if "endless" in ARGUMENTS else {"resources": resources}
    raise LookupError


def serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        if "crashing" in ARGUMENTS and asked["method"] == "tools/list":
            sys.exit(7)
        if "slow" in ARGUMENTS and asked["method"] == "tools/list":
            continue
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            said["result"] = answer(asked["method"])
        except LookupError:
            said["error"] = {"code": -32601, "message": "Method not found"}
        print(json.dumps(said), flush=True)  # noqa: T201 - how it speaks


if __name__ == "__main__":
    if "stubborn" in ARGUMENTS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            time.sleep(1000)
    print("small_upstream is there", file=sys.stderr, flush=True)  # noqa: T201 - for the log
    serve()
    if "stubborn" in ARGUMENTS:
        time.sleep(1000)
