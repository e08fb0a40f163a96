"""What the ledger tells, against what there is."""

from collections import Counter
from collections.abc import Collection, Sequence

from mcp_keys_server import KeyRecord, KeyRing, UserRecord
from mcp_keys_server.core.ledger import Entry, EventKind

_Told = Counter[tuple[EventKind, str | None]]


async def disagreements(ring: KeyRing, users: Collection[str]) -> list[str]:
    """In words, of these users, as far as they are there. Their keys are rotated with an overlap, and at once."""
    found: list[str] = []
    for user_id in users:
        user = await ring.store.find_user(user_id)
        entries = await ring.store.list_events(user_id, before=2**63 - 1, limit=1_000)
        keys = [] if user is None else await ring.administration.list_keys(user_id, include_ended=True)
        found += [f"{user_id}: {what}" for what in _of_user(user, keys, entries)]
    return found


def _of_user(user: UserRecord | None, keys: Sequence[KeyRecord], entries: Sequence[Entry]) -> list[str]:
    told: _Told = Counter((entry.event.kind, entry.event.key_id) for entry in entries)
    there = {key.key_id for key in keys}
    found = [f"{kind} of {key_id}, which is not there" for kind, key_id in told if key_id not in there | {None}]
    added = told[EventKind.USER_ADDED, None] + told[EventKind.USER_IMPORTED, None]
    disabled = told[EventKind.USER_DISABLED, None] - told[EventKind.USER_ENABLED, None]
    if added != (user is not None):
        found.append(f"added {added} times")
    if disabled != (user is not None and user.disabled_at is not None):
        found.append(f"disabled {disabled} times")
    for key in keys:
        found += [f"{key.key_id} {what}" for what in _of_key(key, told)]
    return found


def _of_key(key: KeyRecord, told: _Told) -> list[str]:
    def times(kind: EventKind) -> int:
        return told[kind, key.key_id]

    claimed, rotated = times(EventKind.KEY_CLAIMED), times(EventKind.KEY_ROTATED)
    expected = {
        "made": (times(EventKind.KEY_CREATED) + times(EventKind.KEY_IMPORTED), 1),
        "revoked": (times(EventKind.KEY_REVOKED), int(key.revoked_at is not None)),
        "disabled": (times(EventKind.KEY_DISABLED) - times(EventKind.KEY_ENABLED), int(key.disabled_at is not None)),
        "claimed": (claimed, int(key.claim is not None and key.claim.claimed_at is not None)),
        "given secrets": (claimed + rotated + int(key.claim is None), len(key.secrets)),
    }
    return [f"{what} {told} times and {is_so}" for what, (told, is_so) in expected.items() if told != is_so]
