"""One of several processes in which many make and revoke keys of one database at once. It prints what was confirmed."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from mcp_keys_server import RequestedGrant, StoreUnavailableError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Person

Result = TypeVar("Result")


async def until_done(act: Callable[[], Awaitable[Result]]) -> Result:
    """Whoever waited too long for the others tries again, as they are told to."""
    while True:
        with suppress(StoreUnavailableError):
            return await act()


async def write(database: str, user: str, *, writers: int, each: int) -> dict[str, list[str]]:
    created: list[str] = []
    revoked: list[str] = []
    async with open_key_ring(database, create=False, bcrypt_cost=CHEAPEST_COST) as ring:

        async def live() -> None:
            for _ in range(each):
                key, _ = await until_done(
                    lambda: ring.manager.create_key(Person(user), name="x", requested=RequestedGrant())
                )
                created.append(key.key_id)
                await until_done(partial(ring.manager.revoke_key, Person(user), key_id=key.key_id, reason=None))
                revoked.append(key.key_id)

        await asyncio.gather(*(live() for _ in range(writers)))
    return {"created": created, "revoked": revoked}


if __name__ == "__main__":
    database, user, writers, each = sys.argv[1:]
    confirmed = asyncio.run(write(database, user, writers=int(writers), each=int(each)))
    sys.stdout.write(json.dumps(confirmed))
