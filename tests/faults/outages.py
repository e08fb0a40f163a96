"""What was acknowledged while something was broken, and the judge of what is left of it.

What was acknowledged must hold afterwards. What was not is unknown, which is something else than failed: it may have
been done all the same, and must open nothing.
"""

import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from mcp_keys_server import InvalidApiKeyError, KeyRing, KeyStatus, open_key_ring
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_manager import CLAIM_LIFE
from mcp_keys_server.core.ledger import BrokenLedgerError

REPLICAS: Final = 2


@dataclass
class History:
    """What was acknowledged, and what may have been done all the same."""

    created: set[str] = field(default_factory=set)
    claimed: dict[str, str] = field(default_factory=dict)
    """The plaintexts, by key id."""
    revoked: set[str] = field(default_factory=set)
    perhaps_revoked: set[str] = field(default_factory=set)
    accepted_after_revocation: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    """What was refused, or not found, though all that it needs was acknowledged."""
    acknowledged: int = 0
    unknown: int = 0
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

    def keep(self, file: Path | None = None) -> Path:
        """Written down for whoever looks into it, without the plaintexts of keys."""
        if file is None:
            handle, name = tempfile.mkstemp(prefix="mcp-keys-history-", suffix=".json")
            os.close(handle)
            file = Path(name)
        file.write_text(json.dumps(asdict(self) | {"claimed": sorted(self.claimed)}, default=sorted))
        return file


@dataclass(frozen=True)
class Verdict:
    acknowledged: int
    unknown: int
    faults: int
    slowest_return_seconds: float
    lost_creates: int
    lost_claims: int
    undone_revocations: int
    accepted_after_revocation: int
    denied: int
    ghosts: int
    """Keys that nobody was told of, because the connection was lost after they were made."""
    ghosts_that_open_or_stay: int
    ledger_is_whole: bool
    wrong_answers: int
    refusals_while_away: int
    slowest_refusal_seconds: float
    slowest_end_seconds: float

    @property
    def lost(self) -> int:
        return self.lost_creates + self.lost_claims + self.undone_revocations

    @property
    def is_good(self) -> bool:
        undue = self.accepted_after_revocation + self.denied + self.wrong_answers + self.ghosts_that_open_or_stay
        return self.ledger_is_whole and self.lost + undue == 0


@contextmanager
def kept_if_it_fails(history: History) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"The history is in {history.keep()}")
        raise


@asynccontextmanager
async def replicas(database: str) -> AsyncIterator[list[KeyRing]]:
    async with AsyncExitStack() as stack:
        rings = [open_key_ring(database, bcrypt_cost=CHEAPEST_COST, connections=8) for _ in range(REPLICAS)]
        yield [await stack.enter_async_context(ring) for ring in rings]


async def judge(database: str, history: History) -> Verdict:
    """What is there in the end, against what was acknowledged."""
    async with replicas(database) as (ring, _):
        kept = {key.key_id: key for key in await ring.administration.list_keys(None, include_ended=True)}
        ghosts = [key for key_id, key in kept.items() if key_id not in history.created]
        later = utc_now() + CLAIM_LIFE
        undone = {key_id for key_id in history.revoked if key_id not in kept or kept[key_id].revoked_at is None}
        lost_claims = set()
        for key_id, plaintext in history.claimed.items():
            opens = await _opens(ring, plaintext)
            if key_id in history.revoked and opens:
                undone.add(key_id)
            if key_id not in history.perhaps_revoked and not opens:
                lost_claims.add(key_id)
        try:
            await ring.administration.verify_events()
            ledger_is_whole = True
        except BrokenLedgerError:
            ledger_is_whole = False
    return Verdict(
        acknowledged=history.acknowledged,
        unknown=history.unknown,
        faults=history.faults,
        slowest_return_seconds=round(history.slowest_return, 2),
        lost_creates=len(history.created - kept.keys()),
        lost_claims=len(lost_claims),
        undone_revocations=len(undone),
        accepted_after_revocation=len(history.accepted_after_revocation),
        denied=len(history.denied),
        ghosts=len(ghosts),
        ghosts_that_open_or_stay=sum(bool(key.secrets) or key.status(later) != KeyStatus.LAPSED for key in ghosts),
        ledger_is_whole=ledger_is_whole,
        wrong_answers=sum(history.wrong_answers.values()),
        refusals_while_away=history.refusals_while_away,
        slowest_refusal_seconds=round(history.slowest_refusal, 2),
        slowest_end_seconds=round(history.slowest_end, 2),
    )


async def _opens(ring: KeyRing, plaintext: str) -> bool:
    try:
        await ring.verifier.verify(plaintext)
    except InvalidApiKeyError:
        return False
    return True
