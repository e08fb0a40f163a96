"""What the operator allows of every key, whoever makes it, and of every user."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mcp_keys_server.core.errors import NotPermittedError


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How long keys live, how many a user has, and how many changes are made on a user's own behalf within an hour;
    None: as it comes.
    """

    default_expiry_days: float | None = None
    max_expiry_days: float | None = None
    max_live_keys: int | None = None
    max_changes_per_hour: int | None = None

    def end(self, asked: datetime | None, now: datetime) -> datetime | None:
        """When a key ends for which this end was asked, or none.

        Raises:
            NotPermittedError: It is later than allowed.
        """
        latest = _after(self.max_expiry_days, now)
        if asked is None:
            given = _after(self.default_expiry_days, now)
            return latest if given is None else given if latest is None else min(given, latest)
        if latest is not None and asked > latest:
            raise NotPermittedError(f"expires_in_days: no key here lives longer than {self.max_expiry_days:g} days")
        return asked


NO_LIMITS: Final = KeyPolicy()


def _after(days: float | None, now: datetime) -> datetime | None:
    return None if days is None else now + timedelta(days=days)
