"""How long a check by bcrypt takes at each cost, in the threads in which a server does it."""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.server.bench.findings import COSTS, CostFigures
from mcp_keys_server.server.bench.progress import Tell

_ALONE: Final = 5
_TOGETHER: Final = 4
"""For each core."""


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def measure_costs(configured: int, seconds: float, tell: Tell) -> Sequence[CostFigures]:
    """The figures of as many costs as fit into the time, the lowest first: one at least, and the configured one among
    them if its turn comes.
    """
    began = now = time.perf_counter()
    taken = 0.0
    measured: list[CostFigures] = []
    for cost in sorted({*COSTS, configured}):
        if measured and now - began + taken * 2 ** (cost - measured[-1].cost) > seconds:
            break
        tell(min((now - began) / seconds, 1), f"bcrypt, cost {cost}")
        measured.append(await _measure(cost))
        taken = time.perf_counter() - now
        now += taken
    return measured


async def _measure(cost: int) -> CostFigures:
    mint = KeyMint(ChecksumSecrets([secrets.token_bytes(32)]))
    with closing(KeyHasher(cost=cost)) as hasher:
        key_hash = await hasher.hash(mint.mint())
        alone = [await _seconds(hasher, [key], key_hash) for key in _others(mint, _ALONE)]
        many = list(_others(mint, _TOGETHER * cores()))
        together = await _seconds(hasher, many, key_hash)
    return CostFigures(cost, min(alone) * 1000, len(many) / together)


def _others(mint: KeyMint, count: int) -> Iterator[ApiKey]:
    """Keys that do not fit: to find that takes as long, and no two of them share a check."""
    return (mint.mint() for _ in range(count))


async def _seconds(hasher: KeyHasher, keys: Sequence[ApiKey], key_hash: str) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(hasher.prove(key, key_hash) for key in keys))
    return time.perf_counter() - began
