"""The program with every logger there is at DEBUG, with tracing, and with requests at which it crashes.

What is written to standard error goes through the program's own formatter. A witness writes down beside it what the
loggers say before anything is taken out, so that it is seen that there is something to take out.
"""

import logging
import os
import sys

from opentelemetry import trace
from starlette.types import Receive, Scope, Send

from mcp_keys_server.cli.program import main
from mcp_keys_server.server import log_setup
from tests.leaks.traces import WritingProvider

WITNESS, SPANS = "LOUD_WITNESS", "LOUD_SPANS"
"""The files of both, by variables of the environment."""


def make_loud(set_up_logging: object = log_setup.set_up_logging) -> None:
    log_setup.PRINT_PAYLOADS = ()  # type: ignore[assignment]
    log_setup.PRINT_REQUESTS = {}
    assert callable(set_up_logging)

    def set_up(_: str) -> None:
        set_up_logging("debug")
        witness = logging.FileHandler(os.environ[WITNESS], encoding="utf-8")
        witness.setFormatter(logging.Formatter("%(name)s %(message)s"))
        logging.root.addHandler(witness)

    log_setup.set_up_logging = set_up  # type: ignore[assignment]
    trace.set_tracer_provider(WritingProvider(os.environ[SPANS]))


def crash_when_asked() -> None:
    """On the way in, over all headers, as a library may that quotes what it could not read."""
    from mcp_keys_server.server.endpoints import Endpoints

    enter = Endpoints.__call__

    async def enter_or_crash(self: Endpoints, scope: Scope, receive: Receive, send: Send) -> None:
        if any(name == b"x-crash" for name, _ in scope["headers"]):
            raise RuntimeError(f"crashed over {scope['headers']} and {dict(scope['headers'])}")
        await enter(self, scope, receive, send)

    Endpoints.__call__ = enter_or_crash  # type: ignore[method-assign]


if __name__ == "__main__":
    make_loud()
    if "serve" in sys.argv:
        crash_when_asked()
    sys.exit(main())
