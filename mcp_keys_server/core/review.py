"""What is worth a look in a list of keys: those that nobody would miss, and those that are about to be missed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mcp_keys_server.core.field_rules import check_days
from mcp_keys_server.core.grant import KEYS_WRITE
from mcp_keys_server.core.records import KeyRecord, KeyStatus

UNUSED_DAYS: Final = 90
EXPIRING_DAYS: Final = 14
TIME_TO_SET_UP: Final = timedelta(days=7)


class FindingKind(StrEnum):
    NEVER_USED = "never_used"
    UNUSED = "unused"
    EXPIRING = "expiring"
    OLDER_SECRET_IN_USE = "older_secret_in_use"  # noqa: S105 - what is found, and no secret
    BROADER_THAN_USED = "broader_than_used"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one key. The sentence says what it is and what may be done."""

    key: KeyRecord
    kind: FindingKind
    sentence: str


@dataclass(frozen=True, slots=True)
class _Moments:
    now: datetime
    unused_since: datetime
    expiring_until: datetime


def review(
    keys: Sequence[KeyRecord],
    now: datetime,
    *,
    unused_days: float = UNUSED_DAYS,
    expiring_days: float = EXPIRING_DAYS,
) -> Sequence[Finding]:
    """What is found about the live ones among these keys, in their order. Those that have ended count as made by
    others: a key whose children were all revoked has made some all the same.

    Raises:
        InvalidFieldError: A number of days is out of its range.
    """
    unused, expiring = check_days("unused_days", unused_days), check_days("expiring_days", expiring_days)
    moments = _Moments(now, now - unused, now + expiring)
    makers = {key.parent_key_id for key in keys if key.created_at >= moments.unused_since}
    found: list[Finding] = []
    for key in keys:
        status = key.status(now)
        if status is KeyStatus.ACTIVE:
            found += _of_use(key, moments, makes_keys=key.key_id in makers)
            found += _of_end(key, moments)
        elif status is KeyStatus.DISABLED:
            found += _of_disabled(key, moments)
    return found


def _of_use(key: KeyRecord, moments: _Moments, *, makes_keys: bool) -> Iterator[Finding]:
    if key.last_used_at is None:
        # Counted from its secret: an invitation waits for weeks, and its key is not there before it is used.
        there_since = min(secret.created_at for secret in key.secrets)
        if there_since < moments.now - TIME_TO_SET_UP:
            sentence = f"it was never used since {there_since:%Y-%m-%d}; revoke it, if nobody waits for it"
            yield Finding(key, FindingKind.NEVER_USED, sentence)
    elif key.last_used_at < moments.unused_since:
        sentence = f"it was last used on {key.last_used_at:%Y-%m-%d}; disable it, and revoke it if nobody misses it"
        yield Finding(key, FindingKind.UNUSED, sentence)
    elif KEYS_WRITE in key.grant.scopes and not makes_keys and key.created_at < moments.unused_since:
        sentence = f"it may make keys and has made none since {moments.unused_since:%Y-%m-%d}; narrow its scopes"
        yield Finding(key, FindingKind.BROADER_THAN_USED, sentence)


def _of_end(key: KeyRecord, moments: _Moments) -> Iterator[Finding]:
    expires_at = key.grant.expires_at
    if expires_at is not None and expires_at <= moments.expiring_until:
        sentence = f"it expires at {_to_the_minute(expires_at)}; create another, if it is still needed"
        yield Finding(key, FindingKind.EXPIRING, sentence)
    newest, *older = key.live_secrets(moments.now) or key.secrets
    for secret in older:
        if secret.last_used_at is not None and secret.ends_at is not None and secret.last_used_at > newest.created_at:
            sentence = (
                f"its older secret was used at {_to_the_minute(secret.last_used_at)}, after there was a newer one, and "
                f"ends at {_to_the_minute(secret.ends_at)}; put the newer one wherever the older one still is"
            )
            yield Finding(key, FindingKind.OLDER_SECRET_IN_USE, sentence)


def _of_disabled(key: KeyRecord, moments: _Moments) -> Iterator[Finding]:
    if key.disabled_at is not None and key.disabled_at < moments.unused_since:
        sentence = f"it has been disabled since {key.disabled_at:%Y-%m-%d}; revoke it, if nobody misses it"
        yield Finding(key, FindingKind.DISABLED, sentence)


def _to_the_minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
