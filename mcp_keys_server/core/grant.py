"""What a key may do and until when, and how a key's authority bounds that of the keys it makes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mcp_keys_server.core import tool_patterns
from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.field_rules import check_aliases, check_life, check_scopes, check_tools
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
    tools: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.scopes is not None:
            check_scopes(self.scopes)
        if self.aliases is not None:
            check_aliases(self.aliases)
        if self.expires_in_days is not None:
            check_life(self.expires_in_days)
        if self.tools is not None:
            check_tools(self.tools)

    def end(self, now: datetime) -> datetime | None:
        return None if self.expires_in_days is None else now + timedelta(days=self.expires_in_days)

    def root(self, now: datetime, policy: KeyPolicy = NO_LIMITS) -> "Grant":
        """The grant of a key that the operator makes: as requested, and one that manages keys unless told otherwise.

        Raises:
            NotPermittedError: It would live longer than any key here.
        """
        scopes = MANAGEMENT_SCOPES if self.scopes is None else self.scopes
        return Grant(scopes, self.aliases, policy.end(self.end(now), now), self.tools)


AS_IT_IS: Final = RequestedGrant()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may do: its scopes, the aliases it opens (``None``: every one), its end (``None``: never), and the
    tools it may call there, as patterns (``None``: every one).
    """

    scopes: frozenset[str]
    aliases: frozenset[str] | None
    expires_at: datetime | None
    tools: frozenset[str] | None = None

    def opens(self, alias: str) -> bool:
        return self.aliases is None or alias in self.aliases

    def may_call(self, alias: str, tool: str) -> bool:
        """Whether it opens the alias and may call the tool of this name there."""
        return self.opens(alias) and (
            self.tools is None or any(tool_patterns.matches(pattern, alias, tool) for pattern in self.tools)
        )

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
            and (self.tools is None or (other.tools is not None and _all_covered(other.tools, self.tools)))
        )

    def meet(self, other: "Grant") -> "Grant":
        """What both allow; of the tools perhaps less, never more."""
        aliases = self.aliases if other.aliases is None else other.aliases
        if self.aliases is not None and other.aliases is not None:
            aliases = self.aliases & other.aliases
        tools = self.tools if other.tools is None else other.tools
        if self.tools is not None and other.tools is not None:
            tools = tool_patterns.meet(self.tools, other.tools)
        ends = [end for end in (self.expires_at, other.expires_at) if end is not None]
        return Grant(self.scopes & other.scopes, aliases, min(ends, default=None), tools)

    def child(self, requested: RequestedGrant, now: datetime, policy: KeyPolicy = NO_LIMITS) -> "Grant":
        """The grant of a key that a key with this grant makes: never more than this one, and refused, not trimmed,
        when more is asked for, so that nobody holds a key that does less than they believe.

        Raises:
            NotPermittedError: More is requested than this grant holds.
        """
        end = self._child_end(requested, now, policy)
        return Grant(self._child_scopes(requested), self._child_aliases(requested), end, self._child_tools(requested))

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

    def _child_tools(self, requested: RequestedGrant) -> frozenset[str] | None:
        if requested.tools is None:
            return self.tools
        if self.tools is not None and not _all_covered(requested.tools, self.tools):
            raise NotPermittedError(
                "tools: more was asked for than the key in use may call, so nothing was made; "
                f"it may call: {_in_words(self.tools)}"
            )
        return requested.tools

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


def _all_covered(patterns: frozenset[str], by: frozenset[str]) -> bool:
    return all(tool_patterns.covered(pattern, by) for pattern in patterns)


def _in_words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words)) or "none"
