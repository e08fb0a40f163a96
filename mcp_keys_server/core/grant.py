"""What a key may do and until when, and how a key's authority bounds that of the keys it makes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_keys_server.core.errors import NotPermittedError

KEYS_READ = "keys:read"
KEYS_WRITE = "keys:write"
MANAGEMENT_SCOPES = frozenset({KEYS_READ, KEYS_WRITE})
KEYS_ALIAS = "keys"


@dataclass(frozen=True, slots=True)
class RequestedGrant:
    """What somebody asks of a new key; ``None`` leaves the choice to the rule that applies to them."""

    scopes: frozenset[str] | None = None
    aliases: frozenset[str] | None = None
    life: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may do: its scopes, the aliases it opens (``None``: every one) and its end (``None``: never)."""

    scopes: frozenset[str]
    aliases: frozenset[str] | None
    expires_at: datetime | None

    def opens(self, alias: str) -> bool:
        return self.aliases is None or alias in self.aliases

    def require(self, scope: str) -> None:
        """
        Raises:
            NotPermittedError: The key does not have this scope.
        """
        if scope not in self.scopes:
            raise NotPermittedError(
                f"this key lacks the scope {scope}, which this needs; it has: {in_words(self.scopes)}"
            )

    def child(self, requested: RequestedGrant, now: datetime) -> "Grant":
        """The grant of a key that a key with this grant makes: never more than this one, and refused, not trimmed,
        when more is asked for, so that nobody holds a key that does less than they believe.

        Raises:
            NotPermittedError: More is requested than this grant holds.
        """
        return Grant(self._child_scopes(requested), self._child_aliases(requested), self._child_end(requested, now))

    def _child_scopes(self, requested: RequestedGrant) -> frozenset[str]:
        if requested.scopes is None:
            # The right to make keys is handed on only when it is named: a chain of keys is a decision each time.
            return self.scopes - {KEYS_WRITE}
        if not requested.scopes <= self.scopes:
            raise NotPermittedError(
                f"scopes: a key gives at most what it has itself, which is: {in_words(self.scopes)}"
            )
        return requested.scopes

    def _child_aliases(self, requested: RequestedGrant) -> frozenset[str] | None:
        if requested.aliases is None:
            return self.aliases
        if self.aliases is not None and not requested.aliases <= self.aliases:
            raise NotPermittedError(
                f"aliases: a key gives at most what it opens itself, which is: {in_words(self.aliases)}"
            )
        return requested.aliases

    def _child_end(self, requested: RequestedGrant, now: datetime) -> datetime | None:
        if requested.life is None:
            return self.expires_at
        end = now + requested.life
        if self.expires_at is not None and end > self.expires_at:
            raise NotPermittedError(
                "expires_in_days: no key outlives the one that makes it, and this one ends at "
                f"{self.expires_at.isoformat(timespec='seconds')}; ask for less, or leave it out for the same end"
            )
        return end


def in_words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words)) or "none"
