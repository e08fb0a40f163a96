"""A program that refuses everybody: with our guard, and without looking, which is as fast as one can be here. It says
in a line of JSON where, and stops when its standard input ends. ``DATABASE LOG``; the log is as ``serve`` writes it.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Final, TypedDict, cast

from limits import RateLimitItemPerDay
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server import open_key_ring
from mcp_keys_server.auth.answers import too_many_failures
from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.server.http_service import listen, serve_http
from mcp_keys_server.server.log_setup import set_up_logging
from tests.benchmarks.keys_at_hand import add_keys
from tests.benchmarks.noop_server import PROCESSOR_TIME
from tests.benchmarks.stopping import stop_with_standard_input

if TYPE_CHECKING:
    from starlette.applications import Starlette

GUARDED: Final = "/guarded"
BARE: Final = "/bare"
_FORGERIES: Final = 100
_ANSWER: Final = too_many_failures(86_400)


class RefusedThere(TypedDict):
    port: int
    forgeries: list[str]


async def refuse(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": _ANSWER.status_code, "headers": _ANSWER.raw_headers})
    await send({"type": "http.response.body", "body": _ANSWER.body})


def by_path(apps: dict[str, ASGIApp]) -> ASGIApp:
    """Without Starlette's routes, which take longer than a refusal."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await apps[scope["path"]](scope, receive, send)

    return app


async def processor_time(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(time.process_time())(scope, receive, send)


async def serve(database: str) -> None:
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        (key,) = await add_keys(ring, 1)
        # All that can be seen of a real key, and the rest guessed.
        seen, length = key.tag + key.prefix, len(key.reveal())
        forgeries = [(seen + secrets.token_urlsafe(length))[:length] for _ in range(_FORGERIES)]
        failures = Throttle("failures", RateLimitItemPerDay(1), ring.counters)
        await failures.take("127.0.0.1")  # so that all that counts are alike: more than there may be
        guard = KeyGuard(refuse, ring.verifier, ring.open_responses, failures, over_socket=True)
        app = by_path({GUARDED: guard, BARE: refuse, PROCESSOR_TIME: processor_time})
        listener = listen("127.0.0.1", 0)
        there = RefusedThere(port=listener.getsockname()[1], forgeries=forgeries)
        await serve_http(cast("Starlette", app), listener, lambda: announce(there))


def announce(there: RefusedThere) -> None:
    sys.stdout.write(json.dumps(there) + "\n")
    sys.stdout.flush()


def main(database: str, log: str) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600), sys.stderr.fileno())
    set_up_logging("info")
    stop_with_standard_input()
    asyncio.run(serve(database))


if __name__ == "__main__":
    main(*sys.argv[1:])
