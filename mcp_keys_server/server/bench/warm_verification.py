"""What verifying a key takes that was proven before: with look-ups in one database, and all else in another."""

import time
from itertools import cycle, islice
from typing import Final

from anyio.lowlevel import checkpoint

from mcp_keys_server.server.bench.findings import Times, VerificationFigures
from mcp_keys_server.server.bench.looked_up import LookedUp
from mcp_keys_server.server.bench.throw_away import ThrowAway

_MOST_SAMPLES: Final = 200_000
_SAMPLES_AT_A_TIME: Final = 100


async def measure_verification(there: LookedUp, other: ThrowAway, seconds: float) -> VerificationFigures:
    """Verify for so long, and a hundred times at least.

    A key of the operator's is nobody's to present, so each sample is a look-up there and a verification of a key of the
    other ring, less a look-up in that.

    Raises:
        StoreUnavailableError: The store does not answer.
    """
    verify, look_up = other.ring.verifier.verify, other.ring.store.read_secret
    turns = cycle(other.keys.values())
    warm: list[int] = []
    look_ups: list[int] = []
    end = time.perf_counter() + seconds
    while not warm or (time.perf_counter() < end and len(warm) < _MOST_SAMPLES):
        await checkpoint()  # nothing below has to wait on SQLite, and so nothing would notice that it is to end
        for key in islice(turns, _SAMPLES_AT_A_TIME):
            presented = key.reveal()
            began = time.perf_counter_ns()
            await there.look_up_next()
            looked_up = time.perf_counter_ns()
            await verify(presented)
            verified = time.perf_counter_ns()
            await look_up(key.prefix)
            look_ups.append(looked_up - began)
            warm.append(verified - began - (time.perf_counter_ns() - verified))
    return VerificationFigures(_times(warm), _times(look_ups), len(there.prefixes))


def _times(nanoseconds: list[int]) -> Times:
    nanoseconds.sort()
    return Times(*(nanoseconds[int(len(nanoseconds) * share)] / 1000 for share in (0.5, 0.99)))
