"""An attempt to change something, and what its doer may at that moment."""

from dataclasses import dataclass
from datetime import datetime

from mcp_keys_server.core.changes import Holdings
from mcp_keys_server.core.errors import KeyNoLongerGoodError, KeyNotFoundError, NotPermittedError
from mcp_keys_server.core.grant import KEYS_WRITE, Grant
from mcp_keys_server.core.ledger import Doer, Event, EventKind
from mcp_keys_server.core.records import Actor, KeyRecord, KeyStatus, Person


@dataclass(frozen=True, slots=True)
class Deed:
    """An attempt to change something: by whom and when."""

    by: Doer
    now: datetime
    actor: Actor | None = None
    """None: the operator, or somebody with an invitation, who are bound by nobody's grant."""

    def standing(self, holdings: Holdings) -> Grant | None:
        """What the actor may at this moment, which may be less than when they were let in; None: everything.

        Raises:
            KeyNoLongerGoodError: They may nothing any more.
        """
        if self.actor is None:
            return None
        if holdings.user.disabled_at is not None:
            raise KeyNoLongerGoodError
        if isinstance(self.actor, Person):
            return self.actor.grant
        key = holdings.keys.get(self.actor.key_id)
        if key is None or key.status(self.now) is not KeyStatus.ACTIVE:
            raise KeyNoLongerGoodError
        return key.grant

    def require_write(self, holdings: Holdings) -> Grant | None:
        """
        Raises:
            NotPermittedError: The actor may not change keys.
        """
        standing = self.standing(holdings)
        if standing is not None:
            standing.require(KEYS_WRITE)
        return standing

    def require_authority_over(self, key: KeyRecord, holdings: Holdings) -> None:
        """For what gives the actor a key or its use: nobody gets by it what they may not themselves.

        Raises:
            NotPermittedError: The key may do more, or the actor may not change keys.
        """
        standing = self.require_write(holdings)
        # A person is the user: whatever the key may, it may in their name.
        if standing is not None and not isinstance(self.actor, Person) and not standing.covers(key.grant):
            raise NotPermittedError(
                "this key may do more, or lives longer, than the one in use; use the key that made it, or one that may "
                "as much"
            )

    def require_descent(self, key: KeyRecord, holdings: Holdings) -> None:
        """For what gives a key that is in use to somebody else: a key does so with itself and with what came of it, and
        with no others, so that ending it with its descendants ends all that a thief could get with it.

        Raises:
            NotPermittedError: The key is neither the actor's own nor a descendant of it.
        """
        by = self.by.key_id
        if by is not None and by != key.key_id and key not in holdings.descendants(by):
            raise NotPermittedError(
                "the key in use may do this with itself and with what it made; use that key, or the one that made it"
            )

    def event(self, kind: EventKind, key: KeyRecord, detail: str = "") -> Event:
        return Event(kind, self.now, key.user_id, key.key_id, self.by, detail)


def held_key(holdings: Holdings, key_id: str) -> KeyRecord:
    """
    Raises:
        KeyNotFoundError: The user has no such key, or it was revoked.
    """
    if key_id not in holdings.keys:
        raise KeyNotFoundError
    return holdings.keys[key_id]


def described(key: KeyRecord) -> str:
    """The key in the words of the ledger."""
    grant = key.grant
    aliases = "all" if grant.aliases is None else " ".join(sorted(grant.aliases))
    tools = "all" if grant.tools is None else " ".join(sorted(grant.tools))
    expires_at = "never" if grant.expires_at is None else grant.expires_at.isoformat(timespec="seconds")
    scopes = " ".join(sorted(grant.scopes))
    return f"name={key.name!r} scopes={scopes!r} aliases={aliases!r} tools={tools!r} expires_at={expires_at}"
