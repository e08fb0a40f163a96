"""A key ring and keys in it, for parts that run in this process and are no coroutines themselves."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp_keys_server import ApiKey, KeyRing, RequestedGrant, open_key_ring


@dataclass(frozen=True, slots=True)
class OpenedRing:
    runner: asyncio.Runner
    ring: KeyRing

    def add_keys(self, count: int) -> Sequence[ApiKey]:
        """A key each for as many new users."""
        return self.runner.run(add_keys(self.ring, count))


@contextmanager
def opened_ring(database: Path | str, *, bcrypt_cost: int, proof_secret: bytes | None = None) -> Iterator[OpenedRing]:
    """The key ring as a new process has it: nothing is proven in it, but what is kept under the proof secret."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opening = open_key_ring(database, bcrypt_cost=bcrypt_cost, proof_secret=proof_secret)
        ring = runner.run(stack.enter_async_context(opening))
        try:
            yield OpenedRing(runner, ring)
        finally:
            runner.run(stack.aclose())


async def add_keys(ring: KeyRing, count: int) -> Sequence[ApiKey]:
    keys = []
    for number in range(count):
        user_id = user_name(number)
        await ring.administration.add_user(user_id)
        _, key = await ring.administration.create_key(user_id, name="Benchmark", requested=RequestedGrant())
        keys.append(key)
    return keys


def user_name(number: int) -> str:
    return f"user-{number}"
