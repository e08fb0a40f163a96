"""A process that verifies keys while another revokes them: ``python -m tests.verifying_process DATABASE``.

Reads one key a line, in the order in which they will be revoked. Verifies each until it is refused and some times more,
and prints for each key a line: when each accepted verification began, in nanoseconds of the clock that all processes of
a machine share, and after a semicolon how many were refused.
"""

import sys
import time

import anyio

from mcp_keys_server import InvalidApiKeyError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST

REFUSALS_EACH = 10


async def verify_until_revoked(database: str, keys: list[str]) -> list[str]:
    lines = []
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        for key in keys:
            await ring.verifier.verify(key)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for key in keys:
            accepted = []
            refused = 0
            while refused < REFUSALS_EACH:
                begun = time.monotonic_ns()
                try:
                    await ring.verifier.verify(key)
                except InvalidApiKeyError:
                    refused += 1
                else:
                    accepted.append(str(begun))
            lines.append(f"{' '.join(accepted)};{refused}")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(anyio.run(verify_until_revoked, sys.argv[1], sys.stdin.read().split())) + "\n")
