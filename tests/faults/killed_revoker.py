"""A process that revokes a key and is killed in the moment in which that is committed, before it tells anybody:
``python -m tests.faults.killed_revoker DATABASE KEY_ID``.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from mcp_keys_server import open_key_ring
from mcp_keys_server.auth.open_responses import OpenResponses
from mcp_keys_server.core.key_hasher import CHEAPEST_COST


@contextmanager
def killed_afterwards(_: OpenResponses) -> Iterator[None]:
    yield
    os.kill(os.getpid(), signal.SIGKILL)


async def revoke(database: str, key_id: str) -> None:
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        OpenResponses.changing = killed_afterwards  # type: ignore[assignment,method-assign]
        await ring.administration.revoke_key(key_id, reason=None)


if __name__ == "__main__":
    anyio.run(revoke, sys.argv[1], sys.argv[2])
