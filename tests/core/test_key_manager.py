from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_keys_server import (
    InvalidApiKeyError,
    InvalidFieldError,
    KeyNotFoundError,
    KeyStatus,
    NotPermittedError,
    Principal,
    RequestedGrant,
    open_key_ring,
)
from mcp_keys_server.core import key_manager
from mcp_keys_server.core.errors import ClaimNotOpenError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_manager import CLAIM_LIFE, OVERLAP_HOURS, PAGE_SIZE
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Person
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
READ_ONLY = RequestedGrant(frozenset({"keys:read"}))
WRITE_ONLY = RequestedGrant(frozenset({"keys:write"}))


def test_what_nobody_sets_is_as_the_readme_says() -> None:
    assert (timedelta(minutes=15), 24) == (CLAIM_LIFE, OVERLAP_HOURS)


async def test_a_key_makes_a_key_of_its_owner_that_remembers_it(world: World) -> None:
    ada = await world.principal()
    record, key = await world.ring.manager.create_key(ada, name="Laptop", requested=READ_ONLY)
    made = await world.ring.verifier.verify(key.reveal())
    assert (made.user_id, made.key_id) == ("ada", record.key_id)
    assert made.grant.scopes == {"keys:read"}
    assert (record.parent_key_id, record.name, record.created_at) == (ada.key_id, "Laptop", world.clock.now)


async def test_a_key_without_keys_write_makes_none(world: World) -> None:
    ada = await world.principal(requested=READ_ONLY)
    with pytest.raises(NotPermittedError, match="keys:write"):
        await world.ring.manager.create_key(ada, name="x", requested=NOTHING_SPECIAL)


async def test_a_key_cannot_give_what_it_does_not_have(world: World) -> None:
    ada = await world.principal(requested=WRITE_ONLY)
    with pytest.raises(NotPermittedError, match="^scopes: "):
        await world.ring.manager.create_key(ada, name="x", requested=READ_ONLY)


async def test_a_key_dies_no_later_than_the_key_that_made_it(world: World) -> None:
    ada = await world.principal(requested=RequestedGrant(expires_in_days=1))
    _, key = await world.ring.manager.create_key(ada, name="x", requested=NOTHING_SPECIAL)
    world.clock.advance(days=1)
    with pytest.raises(InvalidApiKeyError):
        await world.ring.verifier.verify(key.reveal())


async def test_a_list_holds_the_owners_keys_only_newest_first(world: World) -> None:
    ada = await world.principal()
    await world.key("bob")
    world.clock.advance(seconds=1)
    newer, _ = await world.key("ada")
    page = await world.ring.manager.list_keys(ada)
    assert [key.key_id for key in page.keys] == [newer.key_id, ada.key_id]
    assert page.next_cursor is None


async def test_a_key_without_keys_read_sees_no_list(world: World) -> None:
    ada = await world.principal(requested=WRITE_ONLY)
    with pytest.raises(NotPermittedError, match="keys:read"):
        await world.ring.manager.list_keys(ada)


async def test_revoked_keys_are_listed_only_when_asked_for(world: World) -> None:
    ada = await world.principal()
    revoked, _ = await world.key()
    await world.ring.manager.revoke_key(ada, key_id=revoked.key_id, reason="lost")
    assert [key.key_id for key in (await world.ring.manager.list_keys(ada)).keys] == [ada.key_id]
    everything = (await world.ring.manager.list_keys(ada, include_ended=True)).keys
    assert {key.key_id: key.status(world.clock()) for key in everything} == {
        ada.key_id: KeyStatus.ACTIVE,
        revoked.key_id: KeyStatus.REVOKED,
    }


async def test_an_expired_key_is_listed_as_such(world: World) -> None:
    ada = await world.principal()
    short, _ = await world.key(requested=RequestedGrant(expires_in_days=1 / 24))
    world.clock.advance(hours=1)
    by_id = {key.key_id: key for key in (await world.ring.manager.list_keys(ada)).keys}
    assert by_id[short.key_id].status(world.clock()) is KeyStatus.EXPIRED


async def test_pages_hold_every_key_once(world: World) -> None:
    ada = await world.principal()
    made = {ada.key_id}
    for _ in range(2 * PAGE_SIZE):  # many of them in the same microsecond
        made.add((await world.key())[0].key_id)
    seen: list[str] = []
    cursor = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = await world.ring.manager.list_keys(ada, cursor=cursor)
        seen += [key.key_id for key in page.keys]
        cursor = page.next_cursor
        pages += 1
    assert (pages, len(seen), set(seen)) == (3, len(made), made)


@pytest.mark.parametrize(("keys", "pages"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
async def test_no_page_is_empty_but_that_of_nobodys_keys(
    world: World, monkeypatch: pytest.MonkeyPatch, keys: int, pages: int
) -> None:
    monkeypatch.setattr(key_manager, "PAGE_SIZE", 2)
    for _ in range(keys):
        await world.key()
    page = await world.ring.manager.list_keys(Person("ada"))
    lengths = [len(page.keys)]
    while page.next_cursor is not None:
        page = await world.ring.manager.list_keys(Person("ada"), cursor=page.next_cursor)
        lengths.append(len(page.keys))
    assert (len(lengths), sum(lengths)) == (pages, keys)


async def test_a_cursor_of_nobody_or_of_somebody_else_is_refused(world: World) -> None:
    ada = await world.principal()
    foreign, _ = await world.key("bob")
    for cursor in ("", "nonsense", "key_0123456789abcdef", foreign.key_id):
        with pytest.raises(InvalidFieldError, match="^cursor: "):
            await world.ring.manager.list_keys(ada, cursor=cursor)


async def test_revoking_says_when_and_why_and_once_is_enough(world: World) -> None:
    ada = await world.principal()
    record, _ = await world.key()
    first = await world.ring.manager.revoke_key(ada, key_id=record.key_id, reason="lost")
    world.clock.advance(hours=1)
    again = await world.ring.manager.revoke_key(ada, key_id=record.key_id, reason="found")
    assert first == again
    assert (first.revoked_reason, first.revoked_at) == ("lost", record.created_at)


async def test_a_key_that_has_just_ended_is_not_read_again(world: World) -> None:
    """Which may fail, and then what was done would be said to have failed."""
    manager, ada = world.ring.manager, Person("ada")
    one, _ = await world.key()
    maker = await world.principal()
    made, _ = await manager.create_key(maker, name="x", requested=NOTHING_SPECIAL)
    world.database.do_after("INSERT", "events", "UPDATE keys SET name = 'Read' WHERE revoked_at IS NOT NULL")
    assert (await manager.revoke_key(ada, key_id=one.key_id, reason=None)).name == "A key"
    assert (await manager.revoke_key(ada, key_id=one.key_id, reason=None)).name == "Read"
    for name, with_it in (("A key", [made.key_id]), ("Read", [])):
        ended, others = await manager.revoke_with_descendants(ada, key_id=maker.key_id, reason=None)
        assert (ended.name, [key.key_id for key in others]) == (name, with_it)


async def test_neither_a_claim_nor_an_end_is_a_change_of_which_there_are_so_many_an_hour(world: World) -> None:
    policy = KeyPolicy(max_changes_per_hour=1)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, policy=policy, clock=world.clock) as ring:
        asked = await ring.manager.create_unclaimed_key(Person("ada"), name="x", requested=NOTHING_SPECIAL)
        claimed, key = await ring.manager.claim_key(Person("ada"), key_id=asked.key_id, claimed_from=None)
        assert (claimed.key_id, claimed.prefix) == (asked.key_id, key.prefix)
        await ring.manager.revoke_key(Person("ada"), key_id=asked.key_id, reason=None)


async def test_what_cannot_be_claimed_takes_no_bcrypt(world: World, bcrypt_calls: list[str]) -> None:
    record, _ = await world.key()
    before = len(bcrypt_calls)
    with pytest.raises(ClaimNotOpenError):
        await world.ring.manager.claim_key(Person("ada"), key_id=record.key_id, claimed_from=None)
    assert len(bcrypt_calls) == before


async def test_anothers_key_and_an_unknown_one_are_the_same_error(world: World) -> None:
    ada = await world.principal()
    foreign, foreign_key = await world.key("bob")
    errors = []
    for key_id in (foreign.key_id, "key_0123456789abcdef"):
        with pytest.raises(KeyNotFoundError) as refused:
            await world.ring.manager.revoke_key(ada, key_id=key_id, reason=None)
        errors.append(str(refused.value))
    assert errors[0] == errors[1]
    await world.ring.verifier.verify(foreign_key.reveal())


async def test_a_key_without_keys_write_ends_itself_and_no_other(world: World) -> None:
    ada = await world.principal(requested=READ_ONLY)
    other, _ = await world.key()
    with pytest.raises(NotPermittedError, match="keys:write"):
        await world.ring.manager.revoke_key(ada, key_id=other.key_id, reason=None)
    revoked = await world.ring.manager.revoke_key(ada, key_id=ada.key_id, reason=None)
    assert revoked.revoked_at == world.clock.now


async def test_the_current_key_is_the_one_that_was_presented(world: World) -> None:
    ada = await world.principal(requested=RequestedGrant(frozenset()))
    assert (await world.ring.manager.current_key(ada)).key_id == ada.key_id


async def test_a_principal_whose_key_is_gone_has_no_current_key(world: World) -> None:
    ada = await world.principal()
    with pytest.raises(KeyNotFoundError):
        await world.ring.manager.current_key(Principal("ada", "key_0123456789abcdef", ada.grant))


async def test_a_field_that_breaks_its_rule_is_refused_through_whatever_door(world: World) -> None:
    ada = await world.principal()
    with pytest.raises(InvalidFieldError, match="^name: "):
        await world.ring.manager.create_key(ada, name="a\nb", requested=NOTHING_SPECIAL)
    with pytest.raises(InvalidFieldError, match="^key_id: "):
        await world.ring.manager.revoke_key(ada, key_id="Laptop", reason=None)
    with pytest.raises(InvalidFieldError, match="^reason: "):
        await world.ring.manager.revoke_key(ada, key_id=ada.key_id, reason="a\nb")
    assert len((await world.ring.manager.list_keys(ada)).keys) == 1


async def test_a_key_sees_itself_and_those_that_it_made(world: World) -> None:
    ada = await world.principal(requested=WRITE_ONLY)
    made, _ = await world.ring.manager.create_key(ada, name="x", requested=NOTHING_SPECIAL)
    asked = await world.ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    for key in (made, asked):
        assert await world.ring.manager.find_key(ada, key_id=key.key_id) == key
    assert (await world.ring.manager.find_key(ada, key_id=ada.key_id)).key_id == ada.key_id


async def test_a_key_without_keys_read_sees_neither_its_maker_nor_any_other(world: World) -> None:
    ada = await world.principal()
    child, key = await world.ring.manager.create_key(ada, name="x", requested=WRITE_ONLY)
    principal = await world.ring.verifier.verify(key.reveal())
    sibling, _ = await world.ring.manager.create_key(ada, name="x", requested=NOTHING_SPECIAL)
    unrelated, _ = await world.key()
    for other in (ada.key_id, sibling.key_id, unrelated.key_id):
        with pytest.raises(NotPermittedError, match="keys:read"):
            await world.ring.manager.find_key(principal, key_id=other)
        await world.ring.manager.find_key(ada, key_id=other)
    assert (await world.ring.manager.find_key(ada, key_id=child.key_id)) == child


async def test_a_person_sees_all_of_their_keys_and_nobody_elses(world: World) -> None:
    adas, _ = await world.key("ada")
    bobs, _ = await world.key("bob")
    assert await world.ring.manager.find_key(Person("ada"), key_id=adas.key_id) == adas
    assert (await world.ring.manager.list_keys(Person("ada"))).keys == [adas]
    with pytest.raises(KeyNotFoundError):
        await world.ring.manager.find_key(Person("ada"), key_id=bobs.key_id)


async def test_what_can_be_no_key_id_is_found_nowhere(world: World) -> None:
    ada = await world.principal()
    with pytest.raises(InvalidFieldError, match="^key_id: "):
        await world.ring.manager.find_key(ada, key_id="Laptop")
    with pytest.raises(KeyNotFoundError):
        await world.ring.manager.find_key(ada, key_id="key_0123456789abcdef")


async def test_a_new_name_is_all_that_changes(world: World) -> None:
    ada = await world.principal()
    record, key = await world.key()
    other, _ = await world.key()
    renamed = await world.ring.manager.update_key(ada, key_id=record.key_id, name="  Büro ")
    assert renamed == replace(record, name="Büro")
    assert await world.ring.manager.find_key(ada, key_id=record.key_id) == renamed
    assert await world.ring.manager.find_key(ada, key_id=other.key_id) == other
    await world.ring.verifier.verify(key.reveal())


async def test_renaming_takes_keys_write_and_a_key_of_ones_own(world: World) -> None:
    ada = await world.principal()
    reader = await world.principal(requested=READ_ONLY)
    bobs, _ = await world.key("bob")
    with pytest.raises(NotPermittedError, match="keys:write"):
        await world.ring.manager.update_key(reader, key_id=reader.key_id, name="x")
    for key_id in (bobs.key_id, "key_0123456789abcdef"):
        with pytest.raises(KeyNotFoundError):
            await world.ring.manager.update_key(ada, key_id=key_id, name="x")
    for key_id, name, field in ((ada.key_id, "a\nb", "name"), ("Laptop", "x", "key_id")):
        with pytest.raises(InvalidFieldError, match=f"^{field}: "):
            await world.ring.manager.update_key(ada, key_id=key_id, name=name)
    assert {name for (name,) in world.sql("SELECT name FROM keys")} == {"A key"}


async def test_a_person_makes_renames_and_revokes_keys(world: World) -> None:
    ada = Person("ada")
    record, key = await world.ring.manager.create_key(ada, name="x", requested=NOTHING_SPECIAL)
    assert (record.parent_key_id, record.grant.scopes) == (None, frozenset({"keys:read"}))
    await world.ring.verifier.verify(key.reveal())
    assert (await world.ring.manager.update_key(ada, key_id=record.key_id, name="y")).name == "y"
    await world.ring.manager.revoke_key(ada, key_id=record.key_id, reason=None)
    with pytest.raises(InvalidApiKeyError):
        await world.ring.verifier.verify(key.reveal())
