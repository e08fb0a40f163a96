"""An upstream that means harm: ``python hostile_program.py HOW``. It is made without the SDK, which is polite."""

import json
import os
import sys
import time

MEGABYTE = 1024 * 1024
HOW = sys.argv[1]
TOOL: dict[str, object] = {"name": "do", "description": "Does it.", "inputSchema": {"type": "object"}}


def say(**message: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def gigabyte() -> None:
    piece = "x" * MEGABYTE
    for _ in range(1024):
        sys.stdout.write(piece)
    sys.stdout.flush()


def tools() -> object:
    if HOW == "no list":
        return 5
    if HOW == "no listing":
        time.sleep(60)
    if HOW == "tools":
        return [{**TOOL, "name": f"do_{number}"} for number in range(10_000)]
    if HOW == "changes":
        return [{**TOOL, "description": f"Does it at {time.monotonic_ns()}."}]
    return [TOOL]


def flood() -> None:
    while True:
        say(method="notifications/message", params={"level": "error", "data": "x" * 1000})


def errors() -> None:
    while True:
        sys.stderr.write("x" * 1000 + "\n")


def others() -> None:
    for other in range(1000):
        say(id=other + 1_000_000, result={"content": []})


BEFORE_AN_ANSWER = {"line": gigabyte, "crash": lambda: os._exit(1), "flood": flood, "errors": errors, "others": others}


def call(number: object) -> None:
    BEFORE_AN_ANSWER.get(HOW, lambda: None)()
    if HOW == "garbage":
        say(id=number, result={"content": "no list", "isError": 7})
    elif HOW != "silence":
        say(id=number, result={"content": [{"type": "text", "text": "done"}]})


for line in sys.stdin:
    request = json.loads(line)
    match request.get("method"):
        case "initialize":
            info = {"name": HOW, "version": "1"}
            version = request["params"]["protocolVersion"]
            offered: dict[str, object] = {"tools": {}, "logging": {}}
            say(id=request["id"], result={"protocolVersion": version, "capabilities": offered, "serverInfo": info})
        case "tools/list":
            say(id=request["id"], result={"tools": tools()})
        case "tools/call":
            call(request["id"])
        case _:
            if "id" in request:
                say(id=request["id"], error={"code": -32601, "message": "no"})
