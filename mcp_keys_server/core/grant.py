"""What a key may do and until when, and how a key's authority bounds that of the keys it makes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.field_rules import check_aliases, check_life, check_scopes
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy

KEYS_READ = "keys:read"
KEYS_WRITE = "keys:write"
KEYS_INTROSPECT = "keys:introspect"
"""The right to ask about everybody's keys, which only the operator gives."""
MANAGEMENT_SCOPES = frozenset({KEYS_READ, KEYS_WRITE})
_HANDED_ON_BY_NAME = frozenset({KEYS_WRITE, KEYS_INTROSPECT})
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

    def root(self, now: datetime, policy: KeyPolicy = NO_LIMITS) -> "Grant":
        """The grant of a key that the operator makes: as requested, and one that manages keys unless told otherwise.

        Raises:
            NotPermittedError: It would live longer than any key here.
        """
        scopes = MANAGEMENT_SCOPES if self.scopes is None else self.scopes
        return Grant(scopes, self.aliases, policy.end(self.end(now), now))


AS_IT_IS: Final = RequestedGrant()


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

    def meet(self, other: "Grant") -> "Grant":
        """What both allow."""
        aliases = self.aliases if other.aliases is None else other.aliases
        if self.aliases is not None and other.aliases is not None:
            aliases = self.aliases & other.aliases
        ends = [end for end in (self.expires_at, other.expires_at) if end is not None]
        return Grant(self.scopes & other.scopes, aliases, min(ends, default=None))

    def child(self, requested: RequestedGrant, now: datetime, policy: KeyPolicy = NO_LIMITS) -> "Grant":
        """The grant of a key that a key with this grant makes: never more than this one, and refused, not trimmed,
        when more is asked for, so that nobody holds a key that does less than they believe.

        Raises:
            NotPermittedError: More is requested than this grant holds.
        """
        end = self._child_end(requested, now, policy)
        return Grant(self._child_scopes(requested), self._child_aliases(requested), end)

    def _child_scopes(self, requested: RequestedGrant) -> frozenset[str]:
        if requested.scopes is None:
            # What reaches beyond the key itself is handed on only when it is named: a chain is a decision each time.
            return self.scopes - _HANDED_ON_BY_NAME
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

    def _child_end(self, requested: RequestedGrant, now: datetime, policy: KeyPolicy) -> datetime | None:
        end = policy.end(requested.end(now), now)
        if self.expires_at is None or (end is not None and end <= self.expires_at):
            return end
        if requested.expires_in_days is not None:
            raise NotPermittedError(
                "expires_in_days: the new key would outlive the key in use, which expires at "
                f"{self.expires_at.isoformat(timespec='seconds')}; ask for fewer days, or leave it out for the same end"
            )
        return self.expires_at


def _in_words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words)) or "none"
