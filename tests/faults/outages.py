"""What was acknowledged while PostgreSQL was broken, and what callers met meanwhile."""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Final

from mcp_keys_server import KeyRing, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.postgres.url import PostgresUrl
from tests.faults import history, judging

REPLICAS: Final = 2
WITHOUT_TLS: Final = "?sslmode=disable"
"""Cut short while it asks for TLS, the driver leaves an error behind that nobody retrieves."""


@dataclass
class History(history.History):
    denied: set[str] = field(default_factory=set)
    """What was refused, or not found, though all that it needs was acknowledged."""
    faults: int = 0
    slowest_return: float = 0.0
    """Seconds from when the database was back until every replica was ready."""
    wrong_answers: dict[str, int] = field(default_factory=dict)
    """What callers got that nobody should have got."""
    refusals_while_away: int = 0
    slowest_refusal: float = 0.0
    """Seconds until a caller was told that the database is away."""
    slowest_end: float = 0.0
    """Seconds from then until all that was open had ended."""
    steps: list[tuple[float, str, str]] = field(default_factory=list)
    """When, what, and of which key."""

    def acknowledge(self, what: str, key_id: str) -> None:
        self.acknowledged += 1
        self.note(what, key_id)

    def note(self, what: str, about: str = "") -> None:
        self.steps.append((round(time.monotonic(), 4), what, about))

    def keep(self, path: Path | None = None) -> Path:
        if path is None:
            handle, name = tempfile.mkstemp(prefix="mcp-keys-history-", suffix=".json")
            os.close(handle)
            path = Path(name)
        return super().keep(path)


@dataclass(frozen=True)
class Verdict(judging.Verdict):
    faults: int = 0
    denied: int = 0
    wrong_answers: int = 0
    refusals_while_away: int = 0
    slowest_return_seconds: float = 0.0
    slowest_refusal_seconds: float = 0.0
    slowest_end_seconds: float = 0.0

    FINE: ClassVar[tuple[str, ...]] = (
        *judging.Verdict.FINE,
        "faults",
        "refusals_while_away",
        "slowest_return_seconds",
        "slowest_refusal_seconds",
        "slowest_end_seconds",
    )

    @property
    def lost(self) -> int:
        return self.lost_creates + self.lost_secrets + self.undone_ends


@contextmanager
def kept_if_it_fails(kept: History) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"The history is in {kept.keep()}")
        raise


@asynccontextmanager
async def replicas(database: str) -> AsyncIterator[list[KeyRing]]:
    async with AsyncExitStack() as stack:
        rings = [open_key_ring(database, bcrypt_cost=CHEAPEST_COST, connections=8) for _ in range(REPLICAS)]
        yield [await stack.enter_async_context(ring) for ring in rings]


async def judge(database: str, told: History) -> Verdict:
    """What is there in the end, against what was acknowledged."""
    held = await judging.judge(PostgresUrl(database), told)
    return Verdict(
        **{each.name: getattr(held, each.name) for each in fields(held)},
        faults=told.faults,
        denied=len(told.denied),
        wrong_answers=sum(told.wrong_answers.values()),
        refusals_while_away=told.refusals_while_away,
        slowest_return_seconds=round(told.slowest_return, 2),
        slowest_refusal_seconds=round(told.slowest_refusal, 2),
        slowest_end_seconds=round(told.slowest_end, 2),
    )
