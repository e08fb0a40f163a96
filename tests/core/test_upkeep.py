"""What only the operator does with keys; see test_key_manager for what others may."""

from datetime import timedelta

import pytest

from mcp_keys_server import (
    InvalidApiKeyError,
    KeyNotFoundError,
    NotPermittedError,
    Refusal,
    RequestedGrant,
)
from mcp_keys_server.core.key_filter import KeyFilter, with_descendants
from mcp_keys_server.core.records import Use
from tests.world import NOTHING_SPECIAL, World, prefix_of

pytestmark = pytest.mark.anyio


async def test_a_rotation_that_reached_nobody_is_undone(world: World) -> None:
    record, old = await world.key()
    rotated, new = await world.ring.administration.rotate_key(record.key_id)
    await world.ring.administration.take_back_secret(record.key_id, prefix=prefix_of(rotated))
    assert await world.ring.administration.list_keys() == [record]
    with pytest.raises(InvalidApiKeyError):
        await world.ring.verifier.verify(new.reveal())
    world.clock.advance(days=2)
    await world.ring.verifier.verify(old.reveal())
    again, _ = await world.ring.administration.rotate_key(record.key_id)
    assert len(again.secrets) == 2


async def test_only_the_newest_of_two_secrets_is_taken_back(world: World) -> None:
    record, _ = await world.key()
    administration = world.ring.administration
    await administration.take_back_secret(record.key_id, prefix=prefix_of(record))
    rotated, _ = await administration.rotate_key(record.key_id)
    await administration.take_back_secret(record.key_id, prefix=prefix_of(record))
    assert await administration.list_keys() == [rotated]
    await administration.revoke_key(record.key_id, reason=None)
    await administration.take_back_secret(record.key_id, prefix=prefix_of(rotated))
    (entry, *_) = await administration.list_events()
    assert entry.event.kind == "key_revoked"


async def test_the_older_secret_is_ended_before_its_time(world: World) -> None:
    record, old = await world.key()
    _, new = await world.ring.administration.rotate_key(record.key_id)
    only = await world.ring.administration.end_older_secrets(record.key_id)
    assert [secret.prefix for secret in only.secrets] == [new.prefix]
    await world.ring.verifier.verify(new.reveal())
    with pytest.raises(InvalidApiKeyError):
        await world.ring.verifier.verify(old.reveal())
    events = await world.ring.administration.list_events()
    assert await world.ring.administration.end_older_secrets(record.key_id) == only
    assert await world.ring.administration.list_events() == events


async def test_the_operator_narrows_a_key_and_what_it_made(world: World) -> None:
    record, key = await world.key()
    maker = await world.ring.verifier.verify(key.reveal())
    made, _ = await world.ring.manager.create_key(maker, name="x", requested=NOTHING_SPECIAL)
    narrow = RequestedGrant(frozenset({"keys:read"}), frozenset({"notes"}), 3)
    changed = await world.ring.administration.update_key(record.key_id, name="New", requested=narrow)
    assert (changed.name, changed.grant.scopes, changed.grant.aliases) == ("New", narrow.scopes, narrow.aliases)
    assert changed.grant.expires_at == world.clock.now + timedelta(days=3)
    (after,) = await world.ring.administration.list_keys(fitting=KeyFilter(created_by=record.key_id))
    assert (after.key_id, after.grant) == (made.key_id, changed.grant)
    with pytest.raises(NotPermittedError, match="only ever narrowed"):
        await world.ring.administration.update_key(record.key_id, requested=RequestedGrant(frozenset({"x"})))
    with pytest.raises(KeyNotFoundError):
        await world.ring.administration.update_key("key_0123456789abcdef", name="x")


async def test_a_user_who_is_switched_off_twice_is_an_event_once(world: World) -> None:
    _, key = await world.key()
    first = await world.ring.administration.disable_user("ada@example.com")
    world.clock.advance(days=1)
    assert await world.ring.administration.disable_user("ada") == first
    with pytest.raises(InvalidApiKeyError) as refused:
        await world.ring.verifier.verify(key.reveal())
    assert refused.value.refusal is Refusal.OWNER_DISABLED
    for _ in range(2):
        assert (await world.ring.administration.enable_user("ada")).disabled_at is None
    await world.ring.verifier.verify(key.reveal())
    kinds = [entry.event.kind for entry in await world.ring.administration.list_events("ada", limit=2)]
    assert kinds == ["user_enabled", "user_disabled"]


async def test_a_key_that_is_switched_off_twice_is_an_event_once(world: World) -> None:
    record, _ = await world.key()
    first = await world.ring.administration.disable_key(record.key_id)
    world.clock.advance(days=1)
    assert await world.ring.administration.disable_key(record.key_id) == first
    for _ in range(2):
        assert (await world.ring.administration.enable_key(record.key_id)).disabled_at is None
    kinds = [entry.event.kind for entry in await world.ring.administration.list_events(limit=3)]
    assert kinds == ["key_enabled", "key_disabled", "key_created"]


async def test_a_filter_fits_when_all_of_it_does(world: World) -> None:
    record, _ = await world.key(requested=RequestedGrant(expires_in_days=10))
    prefix, now = prefix_of(record), world.clock.now
    day = timedelta(days=1)
    await world.ring.store.record_use({prefix: Use(1, now + day)})
    for fitting, fits in (
        (KeyFilter(), True),
        (KeyFilter(prefix=prefix[:3]), True),
        (KeyFilter(prefix=prefix[1:]), False),
        (KeyFilter(last_used_before=now), False),
        (KeyFilter(last_used_before=now + day), False),
        (KeyFilter(last_used_before=now + 2 * day), True),
        (KeyFilter(created_by="key_0123456789abcdef"), False),
        (KeyFilter(expiring_before=now + 9 * day), False),
        (KeyFilter(expiring_before=now + 11 * day), True),
        (KeyFilter(prefix=prefix, expiring_before=now), False),
    ):
        found = await world.ring.administration.list_keys(fitting=fitting)
        assert [key.key_id for key in found] == [record.key_id] * fits
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    everlasting, _ = await world.key()
    assert await world.ring.administration.list_keys(fitting=KeyFilter(expiring_before=now + 4_000 * day)) == []
    assert not KeyFilter(last_used_before=now).fits(everlasting)


async def test_what_a_revoked_key_made_is_among_the_descendants_of_its_maker(world: World) -> None:
    requested = RequestedGrant(frozenset({"keys:read", "keys:write"}))
    line = []
    first, key = await world.key(requested=requested)
    for _ in range(2):
        maker = await world.ring.verifier.verify(key.reveal())
        made, key = await world.ring.manager.create_key(maker, name="x", requested=requested)
        line.append(made.key_id)
    await world.key("bob")
    await world.ring.administration.revoke_key(line[0], reason=None)
    everybodys = await world.ring.administration.list_keys(include_ended=True)
    assert {found.key_id for found in with_descendants([first], everybodys)} == {first.key_id, line[1]}
    ended = await world.ring.administration.end_key(first.key_id, reason="x", cascade=True)
    assert [found.key_id for found in ended] == [first.key_id, line[1]]
    assert await world.ring.administration.end_key(first.key_id, reason="x", cascade=True) == ()


async def test_a_key_is_ended_without_what_it_made_unless_that_is_asked_for(world: World) -> None:
    for cascade in (None, False, True):
        maker, key = await world.key()
        principal = await world.ring.verifier.verify(key.reveal())
        child, _ = await world.ring.manager.create_key(principal, name="x", requested=NOTHING_SPECIAL)
        how = {} if cascade is None else {"cascade": cascade}
        ended = await world.ring.administration.end_key(maker.key_id, reason=None, **how)
        assert [each.key_id for each in ended] == [maker.key_id, *([child.key_id] if cascade else [])]


async def test_an_event_says_no_more_than_there_is_to_say(world: World) -> None:
    record, _ = await world.key()
    await world.ring.administration.disable_key(record.key_id)
    (entry, *_) = await world.ring.administration.list_events()
    assert (entry.event.kind, entry.event.detail) == ("key_disabled", "")
