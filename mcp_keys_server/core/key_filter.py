"""Which keys an operator means, who ends many at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mcp_keys_server.core.changes import made_by
from mcp_keys_server.core.records import KeyRecord


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys; None: whichever. All that is given must fit."""

    prefix: str | None = None
    """What the prefix of one of its secrets starts with."""
    last_used_before: datetime | None = None
    """Or never, and made before that."""
    created_by: str | None = None
    """The key id of the maker."""
    expiring_before: datetime | None = None

    def fits(self, key: KeyRecord) -> bool:
        expires_at = key.grant.expires_at
        return (
            (self.prefix is None or any(secret.prefix.startswith(self.prefix) for secret in key.secrets))
            and (self.last_used_before is None or (key.last_used_at or key.created_at) < self.last_used_before)
            and (self.created_by is None or key.parent_key_id == self.created_by)
            and (self.expiring_before is None or (expires_at is not None and expires_at < self.expiring_before))
        )


def with_descendants(found: Iterable[KeyRecord], everybodys: Sequence[KeyRecord]) -> Sequence[KeyRecord]:
    """These keys and all that they made, that those made, and so on, as far as they were not revoked. Everybody's are
    wanted with those that were, because what a key made outlives it.
    """
    key_ids = {key.key_id for key in found}
    made = made_by(key_ids, {key.key_id: key.parent_key_id for key in everybodys if key.parent_key_id is not None})
    return [key for key in everybodys if key.key_id in key_ids.union(made) and key.revoked_at is None]
