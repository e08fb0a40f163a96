"""Keys changed, disabled and ended, decided within the transaction like their making."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mcp_keys_server.core.changes import (
    Decision,
    DisableUser,
    EndSecret,
    EndSessions,
    Holdings,
    KeepKey,
    RemoveSecret,
    RevokeKey,
)
from mcp_keys_server.core.deed import Deed, described, held_key
from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.grant import Grant, RequestedGrant
from mcp_keys_server.core.ledger import Event, EventKind
from mcp_keys_server.core.records import KeyRecord, UserRecord


def update(
    holdings: Holdings, deed: Deed, key_id: str, name: str | None, requested: RequestedGrant
) -> Decision[KeyRecord]:
    """Rename a key, or narrow what it may; then all keys that it made, and they made, are narrowed with it."""
    key = held_key(holdings, key_id)
    deed.require_write(holdings)
    grant = Grant(
        key.grant.scopes if requested.scopes is None else requested.scopes,
        key.grant.aliases if requested.aliases is None else requested.aliases,
        key.grant.expires_at if requested.expires_in_days is None else requested.end(deed.now),
        key.grant.tools if requested.tools is None else requested.tools,
    )
    if not key.grant.covers(grant):
        raise NotPermittedError(
            "a key is only ever narrowed: scopes, aliases and tools that it has not, or a later end, are not given to "
            "it afterwards; create another key for these"
        )
    renamed = replace(key, name=key.name if name is None else name, grant=grant)
    after = {key_id: renamed}
    for child in holdings.descendants(key_id):
        # By the key that made it and not by this one, because what two grants have in common may be less than it could.
        maker = _standing_maker(holdings, child, after)
        after[child.key_id] = child if maker.covers(child.grant) else replace(child, grant=child.grant.meet(maker))
    changed = [one for one in after.values() if one != holdings.keys[one.key_id]]
    events = tuple(deed.event(EventKind.KEY_CHANGED, after, described(after)) for after in changed)
    return Decision(renamed, tuple(KeepKey(after) for after in changed), events)


def _standing_maker(holdings: Holdings, key: KeyRecord, among: Mapping[str, KeyRecord]) -> Grant:
    """The grant of the key that made it or, where that was revoked, of the one that made that, and so on."""
    maker = holdings.makers[key.key_id]
    while maker not in among:
        maker = holdings.makers[maker]
    return among[maker].grant


def disable(holdings: Holdings, deed: Deed, key_id: str) -> Decision[KeyRecord]:
    key = held_key(holdings, key_id)
    deed.require_write(holdings)
    if key.disabled_at is not None:
        return Decision(key)
    after = replace(key, disabled_at=deed.now)
    # A session would come back with the key, whoever has its cookie by then.
    return Decision(after, (KeepKey(after), EndSessions(key_id)), (deed.event(EventKind.KEY_DISABLED, key),))


def enable(holdings: Holdings, deed: Deed, key_id: str) -> Decision[KeyRecord]:
    key = held_key(holdings, key_id)
    deed.require_authority_over(key, holdings)
    deed.require_descent(key, holdings)
    if key.disabled_at is None:
        return Decision(key)
    after = replace(key, disabled_at=None)
    return Decision(after, (KeepKey(after),), (deed.event(EventKind.KEY_ENABLED, key),))


def end_older_secrets(holdings: Holdings, deed: Deed, key_id: str) -> Decision[KeyRecord]:
    """Let the newest secret of a key be its only one, from now on."""
    key = held_key(holdings, key_id)
    deed.require_write(holdings)
    newest, older = key.secrets[:1], key.secrets[1:]
    if not older:
        return Decision(key)
    event = deed.event(EventKind.KEY_CHANGED, key, "the older secret ended")
    removed = tuple(RemoveSecret(secret.prefix) for secret in older)
    return Decision(replace(key, secrets=newest), (*removed, EndSessions(key_id)), (event,))


def take_back_secret(holdings: Holdings, deed: Deed, key_id: str, prefix: str) -> Decision[None]:
    """Undo a rotation whose new secret, that with this prefix, reached nobody: the one before it is as it was. Where
    there is none before it, or the key has been revoked, there is nothing to undo.
    """
    deed.require_write(holdings)
    key = holdings.keys.get(key_id)
    if key is None or key.prefix != prefix or len(key.secrets) == 1:
        return Decision(None)
    restored = (EndSecret(older.prefix, None) for older in key.secrets[1:])
    return Decision(
        None,
        (RemoveSecret(prefix), *restored),
        (deed.event(EventKind.KEY_CHANGED, key, f"prefix={prefix} was taken back"),),
    )


def switch_user(holdings: Holdings, deed: Deed, *, off: bool) -> Decision[UserRecord]:
    """Disable a user, or enable them again."""
    user = holdings.user
    if (user.disabled_at is not None) == off:
        return Decision(user)
    after = replace(user, disabled_at=deed.now if off else None)
    kind = EventKind.USER_DISABLED if off else EventKind.USER_ENABLED
    event = Event(kind, deed.now, user.user_id, None, deed.by)
    ended = (EndSessions(None),) if off else ()
    return Decision(after, (DisableUser(after.disabled_at), *ended), (event,))


def revoke(
    holdings: Holdings, deed: Deed, key_id: str, reason: str | None, *, cascade: bool
) -> Decision[tuple[KeyRecord, ...]]:
    """End a key and, if told so, all that it made. The answer holds those that ended now; it is empty when the key had
    ended before, or is nobody's.
    """
    if deed.by.key_id != key_id or cascade:
        deed.require_write(holdings)
    ending = [holdings.keys[key_id]] if key_id in holdings.keys else []
    if cascade:
        ending += holdings.descendants(key_id)
    return revocations(ending, deed, reason)


def ended_now(ended: Iterable[KeyRecord], key_id: str) -> KeyRecord | None:
    """The key with this id, if it is among them: whoever ended it need not read it again, which may fail, and then what
    was done would be said to have failed.
    """
    return next((key for key in ended if key.key_id == key_id), None)


def revocations(ending: Iterable[KeyRecord], deed: Deed, reason: str | None) -> Decision[tuple[KeyRecord, ...]]:
    by = f"key {deed.by.key_id}" if deed.by.key_id else deed.by.means
    ended = tuple(replace(key, revoked_at=deed.now, revoked_reason=reason, revoked_by=by) for key in ending)
    events = tuple(deed.event(EventKind.KEY_REVOKED, key, reason or "") for key in ended)
    return Decision(ended, tuple(RevokeKey(key) for key in ended), events)
