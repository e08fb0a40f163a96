"""Keys narrowed, disabled, enabled and ended, alone or with all that they made, by what their doer may just then."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_keys_server import (
    ApiKey,
    Grant,
    InvalidApiKeyError,
    InvalidFieldError,
    KeyNotFoundError,
    KeyRecord,
    KeyStatus,
    NotPermittedError,
    Principal,
    Refusal,
    RequestedGrant,
    UserNotFoundError,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNoLongerGoodError, SessionEndedError
from mcp_keys_server.core.key_filter import KeyFilter
from mcp_keys_server.core.records import Actor, Person
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
ADA = Person("ada")
MOMENT = timedelta(microseconds=1)
BOTH = frozenset({"keys:read", "keys:write"})
READ_ONLY = RequestedGrant(frozenset({"keys:read"}))
WIDE = frozenset({"keys:read", "keys:write", "orders:read", "orders:write"})


async def refusal_of(world: World, key: ApiKey) -> Refusal | None:
    try:
        await world.ring.verifier.verify(key.reveal())
    except InvalidApiKeyError as error:
        return error.refusal
    return None


async def principal_of(world: World, key: ApiKey) -> Principal:
    return await world.ring.verifier.verify(key.reveal())


async def made_by(world: World, key: ApiKey, **requested: object) -> tuple[KeyRecord, ApiKey]:
    asked = RequestedGrant(**({"scopes": WIDE} | requested))  # type: ignore[arg-type]
    return await world.ring.manager.create_key(await principal_of(world, key), name="x", requested=asked)


async def update(world: World, key: KeyRecord, actor: Actor = ADA, **requested: object) -> KeyRecord:
    asked = RequestedGrant(**requested)  # type: ignore[arg-type]
    return await world.ring.manager.update_key(actor, key_id=key.key_id, requested=asked)


async def now_of(world: World, key: KeyRecord) -> KeyRecord:
    return await world.ring.manager.find_key(Person(key.user_id), key_id=key.key_id)


async def test_a_key_is_narrowed_at_once_and_the_rest_of_it_stays(world: World) -> None:
    record, key = await world.key(requested=RequestedGrant(WIDE, frozenset({"keys", "notes"}), 10))
    token = await world.ring.sessions.begin(await principal_of(world, key))
    expected = record.grant
    for requested, narrowed in (
        ({"scopes": BOTH}, replace(expected, scopes=BOTH)),
        ({"aliases": frozenset({"keys"})}, Grant(BOTH, frozenset({"keys"}), expected.expires_at)),
        ({"expires_in_days": 1}, Grant(BOTH, frozenset({"keys"}), world.clock.now + timedelta(days=1))),
        ({"scopes": frozenset()}, Grant(frozenset(), frozenset({"keys"}), world.clock.now + timedelta(days=1))),
    ):
        assert await update(world, record, **requested) == replace(record, grant=narrowed)
        assert await now_of(world, record) == replace(record, grant=narrowed)
        assert (await principal_of(world, key)).grant == narrowed
        assert (await world.ring.sessions.principal(token)).grant == narrowed
    world.clock.advance(days=1)
    assert await refusal_of(world, key) is Refusal.EXPIRED


async def test_every_alias_and_no_end_are_narrowed_to_some_and_one(world: World) -> None:
    record, _ = await world.key()
    narrowed = await update(world, record, aliases=frozenset({"notes"}), expires_in_days=3650)
    assert narrowed.grant == Grant(BOTH, frozenset({"notes"}), world.clock.now + timedelta(days=3650))


@pytest.mark.parametrize(
    "wider",
    [
        {"scopes": BOTH | {"orders:read"}},
        {"scopes": frozenset({"orders:read"})},
        {"aliases": frozenset({"keys", "notes"})},
        {"aliases": frozenset({"notes"})},
        {"expires_in_days": 2},
        {"expires_in_days": 1 + 1 / 86_400},
        {"scopes": frozenset({"keys:read"}), "aliases": frozenset({"keys"}), "expires_in_days": 2},
        {"tools": frozenset({"keys:list_keys", "keys:whoami"})},
        {"tools": frozenset({"keys:*"})},
    ],
)
async def test_nothing_is_widened_by_anybody(world: World, wider: dict[str, object]) -> None:
    record, _ = await world.key(requested=RequestedGrant(BOTH, frozenset({"keys"}), 1, frozenset({"keys:list_*"})))
    for actor in (ADA, await world.principal(requested=RequestedGrant(WIDE))):
        with pytest.raises(NotPermittedError, match="only ever narrowed"):
            await update(world, record, actor, **wider)
    assert await now_of(world, record) == record


async def test_what_a_key_made_and_that_made_is_narrowed_with_it(world: World) -> None:
    root, root_key = await world.key(requested=RequestedGrant(WIDE))
    child, child_key = await made_by(world, root_key)
    narrow, _ = await made_by(world, root_key, scopes=frozenset({"orders:read"}), aliases=frozenset({"a"}))
    early, _ = await made_by(world, root_key, scopes=frozenset(), expires_in_days=1)
    grandchild, grandchild_key = await made_by(world, child_key, aliases=frozenset({"a", "b", "c"}), expires_in_days=9)
    great, great_key = await made_by(world, grandchild_key, aliases=frozenset({"c"}))
    other, _ = await world.key(requested=RequestedGrant(WIDE))
    await world.ring.administration.revoke_key(grandchild.key_id, reason=None)
    asked = await world.ring.manager.create_unclaimed_key(
        await principal_of(world, child_key), name="x", requested=RequestedGrant(WIDE)
    )
    kept = frozenset({"keys:read", "orders:read"})
    await update(world, root, scopes=kept, aliases=frozenset({"a", "b"}), expires_in_days=5)
    end = world.clock.now + timedelta(days=5)
    for key, grant in (
        (root, Grant(kept, frozenset({"a", "b"}), end)),
        (child, Grant(kept, frozenset({"a", "b"}), end)),
        (asked, Grant(kept, frozenset({"a", "b"}), end)),
        (narrow, Grant(frozenset({"orders:read"}), frozenset({"a"}), end)),
        (early, Grant(frozenset(), frozenset({"a", "b"}), early.created_at + timedelta(days=1))),
        (great, Grant(kept, frozenset(), end)),
        (grandchild, grandchild.grant),  # it has ended and does nothing any more
        (other, other.grant),
    ):
        assert (await now_of(world, key)).grant == grant
    assert not (await principal_of(world, great_key)).grant.opens("c")


async def test_the_tools_of_what_a_key_made_are_narrowed_with_it_and_never_more_than_those_of_their_maker(
    world: World,
) -> None:
    root, root_key = await world.key(requested=RequestedGrant(BOTH))
    child, child_key = await made_by(world, root_key, scopes=BOTH, tools=frozenset({"notes:aa*", "keys:*"}))
    grandchild, grandchild_key = await made_by(world, child_key, scopes=BOTH, tools=frozenset({"notes:aaa*"}))
    great, _ = await made_by(world, grandchild_key, scopes=BOTH, tools=frozenset({"notes:aaa"}))
    untouched, _ = await made_by(world, root_key, scopes=BOTH, tools=frozenset({"notes:xaa"}))
    await world.ring.administration.revoke_key(grandchild.key_id, reason=None)
    await update(world, root, tools=frozenset({"notes:*aa"}))
    assert (await now_of(world, child)).grant.tools == frozenset({"notes:aa*aa"})
    # It fits what the first key may, and not what is left to the key that made the one that made it.
    assert (await now_of(world, great)).grant.tools == frozenset()
    assert await now_of(world, untouched) == untouched


async def test_what_covers_the_new_grant_is_no_reason_to_touch_what_a_key_made(world: World) -> None:
    root, root_key = await world.key(requested=RequestedGrant(WIDE))
    child, _ = await made_by(world, root_key, scopes=frozenset(), aliases=frozenset({"a"}), expires_in_days=1)
    before = world.sql("SELECT count(*) FROM events")[0][0]
    await update(world, root, scopes=BOTH)
    assert await now_of(world, child) == child
    assert world.sql("SELECT count(*) FROM events") == [(int(str(before)) + 1,)]


async def test_a_maker_is_not_narrowed_with_what_it_made(world: World) -> None:
    root, root_key = await world.key(requested=RequestedGrant(WIDE))
    child, _ = await made_by(world, root_key)
    sibling, _ = await made_by(world, root_key)
    await update(world, child, scopes=frozenset())
    assert [await now_of(world, key) for key in (root, sibling)] == [root, sibling]


async def test_a_revoked_key_and_anothers_are_not_changed(world: World) -> None:
    revoked, _ = await world.key()
    bobs, _ = await world.key("bob")
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    for key in (revoked, bobs):
        for act in (world.ring.manager.disable_key, world.ring.manager.enable_key, world.ring.manager.update_key):
            with pytest.raises(KeyNotFoundError):
                await act(ADA, key_id=key.key_id)
    for switch in (world.ring.administration.disable_key, world.ring.administration.enable_key):
        with pytest.raises(KeyNotFoundError):
            await switch(revoked.key_id)
        with pytest.raises(KeyNotFoundError):
            await switch("key_0123456789abcdef")
        with pytest.raises(InvalidFieldError):
            await switch("Laptop")
    assert await world.ring.administration.list_keys() == [bobs]


async def test_a_disabled_key_is_refused_at_once_and_good_again_when_enabled_and_its_sessions_are_not(
    world: World,
) -> None:
    record, key = await world.key()
    doors: tuple[tuple[Callable[[], Awaitable[KeyRecord]], Callable[[], Awaitable[KeyRecord]]], ...] = (
        (
            lambda: world.ring.manager.disable_key(ADA, key_id=record.key_id),
            lambda: world.ring.manager.enable_key(ADA, key_id=record.key_id),
        ),
        (
            lambda: world.ring.administration.disable_key(record.key_id),
            lambda: world.ring.administration.enable_key(record.key_id),
        ),
    )
    for disable, enable in doors:
        token = await world.ring.sessions.begin(await principal_of(world, key))
        disabled = await disable()
        assert (disabled.disabled_at, disabled.status(world.clock())) == (world.clock.now, KeyStatus.DISABLED)
        assert await refusal_of(world, key) is Refusal.DISABLED
        with pytest.raises(SessionEndedError):
            await world.ring.sessions.principal(token)
        world.clock.advance(seconds=1)
        assert await disable() == disabled
        assert await enable() == await enable() == record
        assert await refusal_of(world, key) is None
        with pytest.raises(SessionEndedError):
            await world.ring.sessions.principal(token)


async def test_a_weaker_key_disables_a_stronger_one_and_cannot_enable_it(world: World) -> None:
    strong, key = await world.key(requested=RequestedGrant(WIDE))
    weak, writer = await world.principal(), await world.principal(requested=RequestedGrant(WIDE))
    await world.ring.manager.disable_key(weak, key_id=strong.key_id)
    with pytest.raises(NotPermittedError, match="may do more"):
        await world.ring.manager.enable_key(weak, key_id=strong.key_id)
    assert await refusal_of(world, key) is Refusal.DISABLED
    with pytest.raises(NotPermittedError, match="with itself and with what it made"):
        await world.ring.manager.enable_key(writer, key_id=strong.key_id)
    await world.ring.manager.enable_key(ADA, key_id=strong.key_id)
    assert await refusal_of(world, key) is None


async def test_a_stolen_key_gets_no_secret_that_its_cascade_does_not_reach(world: World) -> None:
    stolen, thief = await world.key(requested=RequestedGrant(WIDE))
    sibling, _ = await world.key()
    made, made_key = await made_by(world, thief, scopes=BOTH)
    actor, manager = await principal_of(world, thief), world.ring.manager
    for attempt in (manager.rotate_key, manager.offer_rotation):
        with pytest.raises(NotPermittedError, match="with itself and with what it made"):
            await attempt(actor, key_id=sibling.key_id)
    await manager.offer_rotation(ADA, key_id=sibling.key_id)
    with pytest.raises(NotPermittedError, match="with itself and with what it made"):
        await manager.claim_key(actor, key_id=sibling.key_id, claimed_from=None)
    _, new = await manager.rotate_key(actor, key_id=made.key_id)
    await manager.revoke_with_descendants(ADA, key_id=stolen.key_id, reason="stolen")
    for key in (thief, made_key, new):
        assert await refusal_of(world, key) is Refusal.REVOKED


async def test_ending_the_older_secrets_ends_the_sessions_that_they_began(world: World) -> None:
    record, key = await world.key()
    token = await world.ring.sessions.begin(await principal_of(world, key))
    await world.ring.administration.rotate_key(record.key_id)
    await world.ring.administration.end_older_secrets(record.key_id)
    with pytest.raises(SessionEndedError):
        await world.ring.sessions.principal(token)


async def test_a_change_that_changes_nothing_is_no_entry_of_the_ledger(world: World) -> None:
    record, _ = await world.key()
    before = world.sql("SELECT count(*) FROM events")
    assert await update(world, record) == record
    assert world.sql("SELECT count(*) FROM events") == before


async def test_a_key_without_keys_write_changes_disables_and_enables_none(world: World) -> None:
    reader = await world.principal(requested=READ_ONLY)
    manager = world.ring.manager
    for act in (manager.disable_key, manager.enable_key, manager.update_key):
        with pytest.raises(NotPermittedError, match="keys:write"):
            await act(reader, key_id=reader.key_id)


async def test_the_keys_of_a_disabled_user_are_refused_until_they_are_enabled_and_their_sessions_end(
    world: World,
) -> None:
    record, key = await world.key()
    _, bobs = await world.key("bob")
    token = await world.ring.sessions.begin(await principal_of(world, key))
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    disabled = await world.ring.administration.disable_user("ada@example.com")
    assert (disabled.user_id, disabled.disabled_at) == ("ada", world.clock.now)
    world.clock.advance(seconds=1)
    assert await world.ring.administration.disable_user("ada") == disabled
    assert (await refusal_of(world, key), await refusal_of(world, bobs)) == (Refusal.OWNER_DISABLED, None)
    with pytest.raises(SessionEndedError):
        await world.ring.sessions.principal(token)
    with pytest.raises(KeyNoLongerGoodError):
        await world.ring.manager.update_key(ADA, key_id=record.key_id, name="y")
    with pytest.raises(ClaimNotOpenError):
        await world.ring.invitations.accept(invited.code, claimed_from=None)
    assert (await world.ring.administration.enable_user("ada")).disabled_at is None
    assert await refusal_of(world, key) is None
    with pytest.raises(SessionEndedError):
        await world.ring.sessions.principal(token)
    await world.ring.invitations.accept(invited.code, claimed_from=None)


async def test_nobody_is_neither_disabled_nor_enabled(world: World) -> None:
    for switch in (world.ring.administration.disable_user, world.ring.administration.enable_user):
        with pytest.raises(UserNotFoundError):
            await switch("eve")
        with pytest.raises(InvalidFieldError):
            await switch("A B")


async def test_a_key_is_ended_with_all_that_it_made_and_they_made_and_nothing_else(world: World) -> None:
    root, root_key = await world.key(requested=RequestedGrant(WIDE))
    child, child_key = await made_by(world, root_key)
    sibling, sibling_key = await made_by(world, root_key)
    nephew, _ = await made_by(world, sibling_key)
    grandchild, grandchild_key = await made_by(world, child_key)
    asked = await world.ring.manager.create_unclaimed_key(
        await principal_of(world, child_key), name="x", requested=NOTHING_SPECIAL
    )
    great, great_key = await made_by(world, grandchild_key)
    bobs, _ = await world.key("bob")
    await world.ring.manager.revoke_key(ADA, key_id=grandchild.key_id, reason="earlier")
    world.clock.advance(seconds=1)
    actor = await principal_of(world, root_key)
    key, ended = await world.ring.manager.revoke_with_descendants(actor, key_id=child.key_id, reason="stolen")
    assert key.key_id == child.key_id
    assert {one.key_id for one in ended} == {asked.key_id, great.key_id}
    by = f"key {root.key_id}"
    for key in (child, asked, great):
        now = await now_of(world, key)
        assert (now.revoked_at, now.revoked_reason, now.revoked_by) == (world.clock.now, "stolen", by)
    assert (await now_of(world, grandchild)).revoked_reason == "earlier"
    assert await refusal_of(world, great_key) is Refusal.REVOKED
    for key in (root, sibling, nephew, bobs):
        assert (await now_of(world, key)).revoked_at is None
    _, again = await world.ring.manager.revoke_with_descendants(actor, key_id=child.key_id, reason="again")
    assert again == []
    with pytest.raises(KeyNotFoundError):
        await world.ring.manager.revoke_with_descendants(actor, key_id=bobs.key_id, reason=None)


async def test_what_a_revoked_key_made_is_ended_afterwards_as_well(world: World) -> None:
    maker, maker_key = await world.key()
    made, made_key = await made_by(world, maker_key, scopes=BOTH)
    revoked = await world.ring.administration.revoke_key(maker.key_id, reason="stolen")
    assert revoked.revoked_by == "operator"
    assert await refusal_of(world, made_key) is None
    await world.ring.administration.revoke_key(maker.key_id, reason="with the rest", cascade=True)
    assert (await now_of(world, maker)).revoked_reason == "stolen"
    assert (await now_of(world, made)).revoked_reason == "with the rest"


async def test_descendants_are_found_although_the_clock_was_set_back(world: World) -> None:
    root, key = await world.key()
    line = []
    for _ in range(4):
        world.clock.advance(hours=-1)
        made, key = await made_by(world, key, scopes=BOTH)
        line.append(made.key_id)
    _, ended = await world.ring.manager.revoke_with_descendants(ADA, key_id=root.key_id, reason=None)
    assert [ended_key.key_id for ended_key in ended] == line


async def test_a_key_without_keys_write_ends_itself_but_nothing_with_it(world: World) -> None:
    writer, writer_key = await world.key()
    made, made_key = await made_by(world, writer_key, scopes=BOTH)
    await update(world, writer, scopes=frozenset())
    actor = await principal_of(world, writer_key)
    with pytest.raises(NotPermittedError, match="keys:write"):
        await world.ring.manager.revoke_with_descendants(actor, key_id=writer.key_id, reason=None)
    assert (await now_of(world, writer)).revoked_at is None
    revoked = await world.ring.manager.revoke_key(actor, key_id=writer.key_id, reason="mine")
    assert (revoked.revoked_by, revoked.revoked_reason) == (f"key {writer.key_id}", "mine")
    assert (await now_of(world, made)).revoked_at is None
    assert await refusal_of(world, made_key) is None


@pytest.mark.parametrize(("reason", "detail"), [("it was shown to somebody", "it was shown to somebody"), (None, "")])
async def test_why_a_key_was_ended_is_in_the_ledger(world: World, reason: str | None, detail: str) -> None:
    record, _ = await world.key()
    assert (await world.ring.manager.revoke_key(ADA, key_id=record.key_id, reason=reason)).revoked_reason == reason
    (entry,) = await world.ring.administration.list_events(limit=1)
    assert (entry.event.kind, entry.event.detail) == ("key_revoked", detail)


async def test_who_ended_a_key_is_kept(world: World) -> None:
    record, _ = await world.key()
    assert (await world.ring.manager.revoke_key(ADA, key_id=record.key_id, reason=None)).revoked_by == "person"
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    await world.ring.invitations.accept(invited.code, claimed_from=None)
    assert (await world.ring.invitations.disown(invited.code)).revoked_by == "invitation"


Happening = Callable[[World, Principal], Awaitable[object]]


async def narrowed(world: World, actor: Principal) -> None:
    asked = RequestedGrant(frozenset({"keys:read"}))
    await world.ring.manager.update_key(ADA, key_id=actor.key_id, requested=asked)


async def disabled(world: World, actor: Principal) -> None:
    await world.ring.administration.disable_key(actor.key_id)


async def expired(world: World, _: Principal) -> None:
    world.clock.advance(days=1)


async def revoked(world: World, actor: Principal) -> None:
    await world.ring.administration.revoke_key(actor.key_id, reason=None)


async def owner_disabled(world: World, _: Principal) -> None:
    await world.ring.administration.disable_user("ada")


HAPPENINGS = (
    (narrowed, NotPermittedError),
    (disabled, KeyNoLongerGoodError),
    (expired, KeyNoLongerGoodError),
    (revoked, KeyNoLongerGoodError),
    (owner_disabled, KeyNoLongerGoodError),
)


@pytest.mark.parametrize(("happening", "error"), HAPPENINGS, ids=lambda value: value.__name__)
async def test_what_a_key_may_is_what_it_may_when_the_change_is_made(
    world: World, happening: Happening, error: type[Exception]
) -> None:
    actor = await world.principal(requested=RequestedGrant(BOTH, None, 1))
    target, _ = await world.key(requested=RequestedGrant(frozenset({"keys:read"}), None, 1 / 2))
    asked = await world.ring.manager.create_unclaimed_key(
        actor, name="x", requested=RequestedGrant(frozenset({"keys:read"}))
    )
    off, _ = await world.key(requested=RequestedGrant(frozenset({"keys:read"}), None, 1 / 2))
    await world.ring.administration.disable_key(off.key_id)
    await happening(world, actor)
    manager = world.ring.manager
    tables = [f"SELECT * FROM {table}" for table in ("keys", "claims", "secrets")]
    before = [world.sql(table) for table in tables]
    acts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: manager.create_key(actor, name="x", requested=READ_ONLY),
        lambda: manager.create_unclaimed_key(actor, name="x", requested=READ_ONLY),
        lambda: manager.claim_key(actor, key_id=asked.key_id, claimed_from=None),
        lambda: manager.rotate_key(actor, key_id=target.key_id),
        lambda: manager.offer_rotation(actor, key_id=target.key_id),
        lambda: manager.update_key(actor, key_id=target.key_id, name="y"),
        lambda: manager.disable_key(actor, key_id=target.key_id),
        lambda: manager.enable_key(actor, key_id=off.key_id),
        lambda: manager.revoke_key(actor, key_id=target.key_id, reason=None),
        lambda: manager.revoke_with_descendants(actor, key_id=actor.key_id, reason=None),
    )
    for act in acts:
        with pytest.raises(error):
            await act()
    assert [world.sql(table) for table in tables] == before


async def test_the_operator_finds_keys_by_what_is_known_of_them(world: World) -> None:
    maker = await world.principal()
    made, made_key = await world.ring.manager.create_key(maker, name="x", requested=RequestedGrant(expires_in_days=1))
    rotated, new = await world.ring.administration.rotate_key(made.key_id)
    bobs, _ = await world.key("bob")
    now = world.clock.now
    adas = {maker.key_id, made.key_id}
    for fitting, user, fits in (
        (KeyFilter(), None, adas | {bobs.key_id}),
        (KeyFilter(), "ada", adas),
        (KeyFilter(prefix=made_key.prefix), None, {made.key_id}),
        (KeyFilter(prefix=new.prefix[:6]), None, {rotated.key_id}),
        (KeyFilter(prefix=new.prefix), "bob", set()),
        (KeyFilter(created_by=maker.key_id), None, {made.key_id}),
        (KeyFilter(last_used_before=now), None, set()),
        (KeyFilter(last_used_before=now + MOMENT), "ada", adas),
        (KeyFilter(expiring_before=now + timedelta(days=1)), None, set()),
        (KeyFilter(expiring_before=now + timedelta(days=1) + MOMENT), None, {made.key_id}),
        (KeyFilter(created_by=maker.key_id, expiring_before=now), None, set()),
    ):
        found = await world.ring.administration.list_keys(user, fitting=fitting)
        assert {key.key_id for key in found} == fits


async def test_what_was_ended_is_told_although_it_cannot_be_read_afterwards(world: World) -> None:
    record, _ = await world.key()
    world.database.do_after("UPDATE", "keys", "DELETE FROM secrets", "DELETE FROM keys")
    ended = await world.ring.administration.revoke_key(record.key_id, reason=None)
    assert (ended.key_id, ended.revoked_at) == (record.key_id, world.clock.now)
    with pytest.raises(KeyNotFoundError):
        await world.ring.administration.revoke_key(record.key_id, reason=None)
