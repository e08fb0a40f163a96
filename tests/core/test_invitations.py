"""A link with which a user gets a key that nobody has seen before them: its code is good once and for a time."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from mcp_keys_server import (
    InvalidApiKeyError,
    InvalidFieldError,
    KeyRecord,
    KeyStatus,
    RequestedGrant,
    UserNotFoundError,
    open_key_ring,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, InvitationNotFoundError
from mcp_keys_server.core.invitations import INVITATION_LIFE, Invitation, Invitations
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Claim
from tests.core.issuers import eventful_issuer, repeating_issuer
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = pytest.mark.anyio
ADDRESS = "2001:db8::7"
MOMENT = timedelta(microseconds=1)


async def invite(world: World, user: str = "ada", requested: RequestedGrant = NOTHING_SPECIAL) -> Invitation:
    return await world.ring.invitations.invite(user, name="First key", requested=requested)


async def status_of(world: World, invitation: Invitation) -> KeyStatus:
    return (await world.ring.invitations.find(invitation.code)).status(world.clock())


def secrets_of(world: World, key: KeyRecord) -> int:
    return len(world.sql(f"SELECT 1 FROM secrets WHERE key_id = '{key.key_id}'"))


async def refuse(world: World, code: str, error: type[Exception]) -> None:
    """Nobody gets a key, and no work is put into one."""

    async def work() -> None:
        raise AssertionError("a key was hashed")

    with eventful_issuer(world, work) as issuer, pytest.raises(error):
        await Invitations(world.ring.store, issuer, clock=world.clock).accept(code, claimed_from=None)


async def test_the_invited_get_a_key_that_manages_keys_unless_said_otherwise(world: World) -> None:
    narrow = RequestedGrant(frozenset({"orders:read"}), frozenset({"notes"}), 30)
    for user, requested in (("ada", NOTHING_SPECIAL), ("bob", narrow)):
        invitation = await invite(world, user, requested)
        assert invitation.key.status(world.clock()) is KeyStatus.UNCLAIMED
        assert invitation.key.claim == Claim(world.clock.now + INVITATION_LIFE, by_invitation=True)
        assert await world.ring.invitations.find(invitation.code) == invitation.key
        record, key = await world.ring.invitations.accept(invitation.code, claimed_from=ADDRESS)
        principal = await world.ring.verifier.verify(key.reveal())
        assert (principal.user_id, principal.key_id) == (user, invitation.key.key_id)
        assert principal.grant == requested.root(world.clock.now)
        assert record.claim == Claim(
            world.clock.now + INVITATION_LIFE, by_invitation=True, claimed_at=world.clock.now, claimed_from=ADDRESS
        )
        assert await world.ring.invitations.find(invitation.code) == record


async def test_neither_the_code_nor_the_key_is_stored(world: World) -> None:
    invitation = await invite(world)
    assert invitation.key.key_id.encode() in world.stored_bytes()
    assert invitation.code.encode() not in world.stored_bytes()
    _, key = await world.ring.invitations.accept(invitation.code, claimed_from=ADDRESS)
    assert key.prefix.encode() in world.stored_bytes()
    assert key.reveal()[12:].encode() not in world.stored_bytes()
    assert invitation.code.encode() not in world.stored_bytes()


async def test_what_is_stored_of_a_code_is_no_code(world: World) -> None:
    await invite(world)
    ((digest,),) = world.sql("SELECT invitation_digest FROM claims")
    for code in (digest.hex().upper(), digest.hex(), digest.decode("latin-1")):
        await refuse(world, code, InvitationNotFoundError)


async def test_two_invitations_have_two_codes(world: World) -> None:
    codes = {(await invite(world, user)).code for user in ("ada", "bob", "ada")}
    assert len(codes) == 3
    assert min(map(len, codes)) >= 43  # 256 bits


async def test_a_newer_invitation_revokes_the_older_one_that_nobody_used(world: World) -> None:
    older, bobs = await invite(world, "ada"), await invite(world, "bob")
    newer = await invite(world, "ada")
    assert await status_of(world, older) is KeyStatus.REVOKED
    assert (await world.ring.invitations.find(older.code)).revoked_at == world.clock.now
    await refuse(world, older.code, ClaimNotOpenError)
    for good in (newer, bobs):
        await world.ring.invitations.accept(good.code, claimed_from=None)


async def test_a_newer_invitation_leaves_used_ones_and_other_keys_alone(world: World) -> None:
    used = await invite(world)
    _, key = await world.ring.invitations.accept(used.code, claimed_from=None)
    ada = await world.principal()
    asked = await world.ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    await invite(world)
    assert (await world.ring.verifier.verify(key.reveal())).key_id == used.key.key_id
    assert (await world.ring.manager.find_key(ada, key_id=asked.key_id)).status(world.clock()) is KeyStatus.UNCLAIMED


async def test_a_newer_invitation_does_not_date_the_end_of_older_ones_anew(world: World) -> None:
    lapsed = await invite(world)
    world.clock.now += INVITATION_LIFE
    await invite(world)
    assert await status_of(world, lapsed) is KeyStatus.LAPSED


async def test_of_many_invitations_at_once_one_is_open(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        made = await asyncio.gather(
            *(ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL) for ring in [world.ring, other] * 5)
        )
    open_ones = [one for one in made if await status_of(world, one) is KeyStatus.UNCLAIMED]
    assert len(open_ones) == 1


async def test_an_invitation_used_while_another_is_made_is_not_revoked(world: World) -> None:
    for _ in range(20):
        older = await invite(world)
        accepted, _ = await asyncio.gather(
            world.ring.invitations.accept(older.code, claimed_from=None), invite(world), return_exceptions=True
        )
        expected = KeyStatus.REVOKED if isinstance(accepted, ClaimNotOpenError) else KeyStatus.ACTIVE
        assert await status_of(world, older) is expected


async def test_an_invitation_for_nobody_changes_nothing(world: World) -> None:
    older = await invite(world)
    with pytest.raises(InvalidFieldError, match="^name: "):
        await world.ring.invitations.invite("ada", name="a\nb", requested=NOTHING_SPECIAL)
    with pytest.raises(UserNotFoundError):
        await invite(world, "nobody")
    assert world.sql("SELECT count(*) FROM keys") == [(1,)]
    assert await status_of(world, older) is KeyStatus.UNCLAIMED


async def test_an_invitation_is_good_until_its_end_and_not_at_it(world: World) -> None:
    in_time, too_late = await invite(world, "ada"), await invite(world, "bob")
    world.clock.now += INVITATION_LIFE - MOMENT
    await world.ring.invitations.accept(in_time.code, claimed_from=None)
    world.clock.now += MOMENT
    assert await status_of(world, too_late) is KeyStatus.LAPSED
    await refuse(world, too_late.code, ClaimNotOpenError)


async def test_how_long_an_invitation_is_good_can_be_set(world: World) -> None:
    async with open_key_ring(
        world.address, bcrypt_cost=CHEAPEST_COST, invitation_life=timedelta(hours=1), clock=world.clock
    ) as ring:
        invitation = await ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    assert invitation.key.claim is not None
    assert invitation.key.claim.lapses_at == world.clock.now + timedelta(hours=1)


async def test_an_invitation_is_good_once(world: World) -> None:
    invitation = await invite(world)
    record, key = await world.ring.invitations.accept(invitation.code, claimed_from=ADDRESS)
    world.clock.advance(hours=1)
    await refuse(world, invitation.code, ClaimNotOpenError)
    assert await world.ring.invitations.find(invitation.code) == record
    assert secrets_of(world, record) == 1
    await world.ring.verifier.verify(key.reveal())


async def test_of_many_who_use_one_invitation_at_once_one_gets_a_key(world: World) -> None:
    invitation = await invite(world)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        results = await asyncio.gather(
            *(ring.invitations.accept(invitation.code, claimed_from=None) for ring in [world.ring, other] * 10),
            return_exceptions=True,
        )
    assert sorted(type(result).__name__ for result in results) == ["ClaimNotOpenError"] * 19 + ["tuple"]
    assert secrets_of(world, invitation.key) == 1


async def test_an_invitation_of_the_operator_who_took_it_back_is_not_used(world: World) -> None:
    invitation = await invite(world)
    await world.ring.administration.revoke_key(invitation.key.key_id, reason="mistaken")
    await refuse(world, invitation.code, ClaimNotOpenError)


async def test_an_invitation_of_a_disabled_user_gives_no_key(world: World) -> None:
    invitation = await invite(world)
    world.disable("ada")
    with pytest.raises(ClaimNotOpenError):
        await world.ring.invitations.accept(invitation.code, claimed_from=None)
    assert secrets_of(world, invitation.key) == 0


Happening = Callable[[World, Invitation], Awaitable[object]]


async def revoked(world: World, invitation: Invitation) -> None:
    await world.ring.administration.revoke_key(invitation.key.key_id, reason=None)


async def replaced(world: World, _: Invitation) -> None:
    await invite(world)


async def disowned(world: World, invitation: Invitation) -> None:
    await world.ring.invitations.disown(invitation.code)


async def lapsed(world: World, _: Invitation) -> None:
    world.clock.now += INVITATION_LIFE


async def disabled(world: World, _: Invitation) -> None:
    world.disable("ada")


@pytest.mark.parametrize("happening", [revoked, replaced, disowned, lapsed, disabled])
async def test_what_happens_while_bcrypt_runs_leaves_no_secret_behind(world: World, happening: Happening) -> None:
    invitation = await invite(world)

    async def meanwhile() -> None:
        await happening(world, invitation)

    with eventful_issuer(world, meanwhile) as issuer, pytest.raises(ClaimNotOpenError):
        await Invitations(world.ring.store, issuer, clock=world.clock).accept(invitation.code, claimed_from=None)
    assert secrets_of(world, invitation.key) == 0


async def test_a_taken_prefix_does_not_spend_the_invitation_and_is_minted_again(world: World) -> None:
    _, taken = await world.key("bob")
    invitation = await invite(world)
    with repeating_issuer(world, taken, times=3) as issuer:
        _, key = await Invitations(world.ring.store, issuer, clock=world.clock).accept(
            invitation.code, claimed_from=None
        )
    assert (await world.ring.verifier.verify(key.reveal())).key_id == invitation.key.key_id


async def test_a_restart_between_the_invitation_and_its_use_changes_nothing(world: World) -> None:
    async with open_world(world.database.another()) as before:
        invitation = await invite(before)
    async with open_world(before.database) as after:
        _, key = await after.ring.invitations.accept(invitation.code, claimed_from=None)
        await after.ring.verifier.verify(key.reveal())


async def test_a_key_that_somebody_else_took_is_disowned(world: World) -> None:
    invitation = await invite(world)
    _, key = await world.ring.invitations.accept(invitation.code, claimed_from=None)
    world.clock.now += INVITATION_LIFE - MOMENT
    disowned = await world.ring.invitations.disown(invitation.code)
    assert (disowned.revoked_at, disowned.status(world.clock())) == (world.clock.now, KeyStatus.REVOKED)
    with pytest.raises(Exception, match="revoked"):
        await world.ring.verifier.verify(key.reveal())
    assert await world.ring.invitations.disown(invitation.code) == disowned


async def test_what_was_made_with_a_disowned_key_ends_with_it(world: World) -> None:
    requested = RequestedGrant(frozenset({"keys:read", "keys:write"}))
    invitation = await world.ring.invitations.invite("ada", name="x", requested=requested)
    _, stolen = await world.ring.invitations.accept(invitation.code, claimed_from=None)
    thief = await world.ring.verifier.verify(stolen.reveal())
    _, made = await world.ring.manager.create_key(thief, name="y", requested=NOTHING_SPECIAL)
    await world.ring.invitations.disown(invitation.code)
    for key in (stolen, made):
        with pytest.raises(InvalidApiKeyError):
            await world.ring.verifier.verify(key.reveal())


async def test_a_key_that_was_just_disowned_is_not_read_again(world: World) -> None:
    invitation = await invite(world)
    world.database.do_after("INSERT", "events", "UPDATE keys SET name = 'Read' WHERE revoked_at IS NOT NULL")
    for name in ("First key", "Read"):
        assert (await world.ring.invitations.disown(invitation.code)).name == name


async def test_an_invitation_that_nobody_used_is_disowned_as_well(world: World) -> None:
    invitation = await invite(world)
    await world.ring.invitations.disown(invitation.code)
    await refuse(world, invitation.code, ClaimNotOpenError)


async def test_a_link_found_much_later_in_a_mailbox_ends_nothing(world: World) -> None:
    invitation = await invite(world)
    _, key = await world.ring.invitations.accept(invitation.code, claimed_from=None)
    world.clock.now += INVITATION_LIFE
    with pytest.raises(InvitationNotFoundError):
        await world.ring.invitations.disown(invitation.code)
    await world.ring.verifier.verify(key.reveal())


def no_codes(invitation: Invitation) -> dict[str, str]:
    return {
        "empty": "",
        "unknown": "A" * 43,
        "not ASCII": "código-🗝",
        "a lone surrogate": "\ud800",
        "NUL": invitation.code + "\0",
        "cut off": invitation.code[:-1],
        "in capitals": invitation.code.upper(),
        "with a space": f" {invitation.code}",
        "its digest": hashlib.sha256(invitation.code.encode()).hexdigest(),
        "the key's id": invitation.key.key_id,
        "a pattern": "%",
        "SQL": "' OR 1 = 1 --",
        "10 MB": "A" * 10_000_000,
    }


async def test_a_code_is_256_random_bits(world: World) -> None:
    codes = [(await invite(world)).code for _ in range(2)]
    assert codes[0] != codes[1]
    assert [len(base64.urlsafe_b64decode(code + "=")) for code in codes] == [32, 32]


async def test_a_text_that_is_no_code_is_an_unknown_invitation(world: World) -> None:
    invitation = await invite(world)
    for code in no_codes(invitation).values():
        await refuse(world, code, InvitationNotFoundError)
        for use in (world.ring.invitations.find(code), world.ring.invitations.disown(code)):
            with pytest.raises(InvitationNotFoundError):
                await use
    await world.ring.invitations.accept(invitation.code, claimed_from=None)


async def test_a_key_that_came_without_an_invitation_has_no_code(world: World) -> None:
    ada = await world.principal()
    asked = await world.ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    for code in ("", "None", asked.key_id):
        await refuse(world, code, InvitationNotFoundError)
