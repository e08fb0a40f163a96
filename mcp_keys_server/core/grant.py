"""What a key may do and until when, and how a key's authority bounds that of the keys it makes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.field_rules import check_aliases, check_life, check_scopes

KEYS_READ = "keys:read"
KEYS_WRITE = "keys:write"
MANAGEMENT_SCOPES = frozenset({KEYS_READ, KEYS_WRITE})
KEYS_ALIAS = "keys"


@dataclass(frozen=True, slots=True)
class RequestedGrant:
    """What somebody asks of a new key; ``None`` leaves the choice to the rule that applies to them.

    Raises:
        InvalidFieldError: Something asked for breaks the rule of its field.
    """

    scopes: frozenset[str] | None = None
    aliases: frozenset[str] | None = None
    expires_in_days: float | None = None

    def __post_init__(self) -> None:
        if self.scopes is not None:
            check_scopes(self.scopes)
        if self.aliases is not None:
            check_aliases(self.aliases)
        if self.expires_in_days is not None:
            check_life(self.expires_in_days)

    def end(self, now: datetime) -> datetime | None:
        return None if self.expires_in_days is None else now + timedelta(days=self.expires_in_days)

    def root(self, now: datetime) -> "Grant":
        """The grant of a key that the operator makes: as requested, and one that manages keys unless told otherwise."""
        return Grant(MANAGEMENT_SCOPES if self.scopes is None else self.scopes, self.aliases, self.end(now))


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
                f"the key in use may not do this: it needs the scope {scope} and has only: {_in_words(self.scopes)}"
            )

    def covers(self, other: "Grant") -> bool:
        """Whether there is nothing that the other may do and this one may not."""
        return (
            other.scopes <= self.scopes
            and (self.aliases is None or (other.aliases is not None and other.aliases <= self.aliases))
            and (self.expires_at is None or (other.expires_at is not None and other.expires_at <= self.expires_at))
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
                "scopes: more was asked for than the key in use has, so nothing was made; "
                f"it has: {_in_words(self.scopes)}"
            )
        return requested.scopes

    def _child_aliases(self, requested: RequestedGrant) -> frozenset[str] | None:
        if requested.aliases is None:
            return self.aliases
        if self.aliases is not None and not requested.aliases <= self.aliases:
            raise NotPermittedError(
                "aliases: more was asked for than the key in use opens, so nothing was made; "
                f"it opens: {_in_words(self.aliases)}"
            )
        return requested.aliases

    def _child_end(self, requested: RequestedGrant, now: datetime) -> datetime | None:
        end = requested.end(now)
        if end is None:
            return self.expires_at
        if self.expires_at is not None and end > self.expires_at:
            raise NotPermittedError(
                "expires_in_days: the new key would outlive the key in use, which expires at "
                f"{self.expires_at.isoformat(timespec='seconds')}; ask for fewer days, or leave it out for the same end"
            )
        return end


def _in_words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words)) or "none"
