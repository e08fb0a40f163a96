"""A program in which each request leaves memory and a file behind: ``python -m tests.faults.leaking_server serve``.

It is there to be found out.
"""

import os
import sys
from typing import Final

import pytest
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.cli.program import main

BYTES: Final = 20_000

_answer = KeyGuard.__call__
_left: list[tuple[bytes, int]] = []


async def _answer_and_leave(self: KeyGuard, scope: Scope, receive: Receive, send: Send) -> None:
    _left.append((os.urandom(BYTES), os.open(os.devnull, os.O_RDONLY)))
    await _answer(self, scope, receive, send)


if __name__ == "__main__":
    pytest.MonkeyPatch().setattr(KeyGuard, "__call__", _answer_and_leave)
    sys.exit(main())
