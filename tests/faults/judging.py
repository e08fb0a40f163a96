"""What a database holds in the end, against what its users were told."""

from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from mcp_keys_server import InvalidApiKeyError, KeyRing, KeyStatus, open_key_ring
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.errors import NoDatabaseError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_manager import CLAIM_LIFE
from mcp_keys_server.core.ledger import EventKind
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.whole.checking import check_database
from tests.faults.history import History

ALL = 10**9


@dataclass(frozen=True)
class Verdict:
    acknowledged: int = 0
    unknown: int = 0
    lost_creates: int = 0
    lost_secrets: int = 0
    """Handed over, by a claim or a rotation, and refused."""
    undone_ends: int = 0
    """Revocations, and rotations that were to leave no other secret."""
    accepted_after_end: int = 0
    refused_before_end: int = 0
    ghosts: int = 0
    """Keys that nobody was told of, because the answer was lost after they were made."""
    ghosts_that_open_or_stay: int = 0
    untold: int = 0
    """Keys that were made or revoked without an entry of the ledger, or the other way round."""
    problems: tuple[str, ...] = ()
    """Failed requests, and what is wrong with its pages, its references, its guards or its ledger."""

    @property
    def wrong(self) -> dict[str, object]:
        """What is not as it should be."""
        fine = ("acknowledged", "unknown", "ghosts")
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in fine and getattr(self, one.name)
        }

    def __add__(self, other: Self) -> "Verdict":
        return Verdict(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


async def judge(database: Path | PostgresUrl, history: History) -> Verdict:
    try:
        async with open_key_ring(database, create=False, bcrypt_cost=CHEAPEST_COST) as ring:
            verdict = await _verdict(ring, history)
        problems = (await check_database(database, utc_now)).problems
    except NoDatabaseError:
        return Verdict(history.acknowledged, history.unknown, lost_creates=len(history.created))
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being judged
        return Verdict(history.acknowledged, history.unknown, problems=(*sorted(history.failures), f"{error!r}"))
    return verdict + Verdict(problems=(*sorted(history.failures), *problems))


async def _verdict(ring: KeyRing, history: History) -> Verdict:
    kept = {key.key_id: key for key in await ring.administration.list_keys(include_ended=True)}
    revoked = {key_id for key_id, key in kept.items() if key.revoked_at is not None}
    ghosts = [key for key_id, key in kept.items() if key_id not in history.created]
    undone = history.revoked - revoked
    lost = 0
    for plaintext, key_id in history.handed_over.items():
        opens = await _opens(ring, plaintext)
        if opens and history.has_ended(plaintext):
            undone.add(plaintext if plaintext in history.replaced else key_id)
        lost += not opens and not history.may_have_ended(plaintext)
    told = defaultdict(set)
    for entry in await ring.administration.list_events(limit=ALL):
        told[entry.event.kind].add(entry.event.key_id)
    return Verdict(
        acknowledged=history.acknowledged,
        unknown=history.unknown,
        lost_creates=len(history.created - kept.keys()),
        lost_secrets=lost,
        undone_ends=len(undone),
        accepted_after_end=len(history.accepted_after_end),
        refused_before_end=len(history.refused_before_end),
        ghosts=len(ghosts),
        ghosts_that_open_or_stay=sum(_opens_or_stays(key) for key in ghosts if key.name not in history.good_at_once),
        untold=len(told[EventKind.KEY_CREATED] ^ kept.keys()) + len(told[EventKind.KEY_REVOKED] ^ revoked),
    )


async def _opens(ring: KeyRing, plaintext: str) -> bool:
    try:
        await ring.verifier.verify(plaintext)
    except InvalidApiKeyError:
        return False
    return True


def _opens_or_stays(key: KeyRecord) -> bool:
    return bool(key.secrets) or key.status(utc_now() + CLAIM_LIFE) not in (KeyStatus.LAPSED, KeyStatus.REVOKED)
