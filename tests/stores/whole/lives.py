"""A database with something of everything in it."""

from dataclasses import dataclass
from datetime import datetime

from mcp_keys_server import ApiKey, RequestedGrant
from mcp_keys_server.core.ledger import Head
from mcp_keys_server.core.records import Person
from tests.replacing import announce, replace
from tests.world import NOTHING_SPECIAL, World

PINS = {"read": "aa", "list": "bb", "a:b ü": "cc", "write": "dd"}


@dataclass(frozen=True)
class Lives:
    """Keys in every part of their life."""

    good: ApiKey
    revoked: ApiKey
    disabled: ApiKey
    older: ApiKey
    newer: ApiKey
    child: ApiKey
    good_id: str
    unclaimed_id: str
    spent_id: str
    offered_id: str
    invitation: str
    session: str
    head: Head
    now: datetime


async def live(world: World) -> Lives:
    ring, ada, clock = world.ring, Person("ada"), world.clock
    clock.advance(microseconds=7)
    good, good_key = await world.key()
    revoked, revoked_key = await world.key()
    await ring.administration.revoke_key(revoked.key_id, reason="löst 🗝")
    disabled, disabled_key = await world.key()
    await ring.manager.disable_key(ada, key_id=disabled.key_id)
    tools = frozenset({"keys:*", "notes:read_*"})
    rotated, older = await world.key(requested=RequestedGrant(expires_in_days=30, tools=tools))
    _, newer = await ring.administration.rotate_key(rotated.key_id, overlap_hours=2)
    await replace(ring)
    principal = await ring.verifier.verify(good_key.reveal())
    clock.advance(days=-1)  # the one that was made later seems to be the older one
    _, child = await ring.manager.create_key(principal, name="A child", requested=NOTHING_SPECIAL)
    clock.advance(days=1)
    unclaimed = await ring.manager.create_unclaimed_key(principal, name="x", requested=NOTHING_SPECIAL)
    spent = await ring.manager.create_unclaimed_key(principal, name="y", requested=NOTHING_SPECIAL)
    await ring.manager.claim_key(principal, key_id=spent.key_id, claimed_from="192.0.2.7")
    offered, _ = await world.key()
    await ring.manager.offer_rotation(ada, key_id=offered.key_id)
    invited = await ring.invitations.invite("bob", name="First", requested=NOTHING_SPECIAL)
    await ring.administration.add_user("caesar", name="Cäsar")
    await ring.store.note_public_url("https://keys.example.com")
    for alias in ("notes", "notes-2"):
        await ring.tool_pins.pin(alias, PINS, clock.now)
    for _ in range(2):
        await ring.sessions.begin(principal)
    session = await ring.sessions.begin(principal)
    await announce(ring)
    head = await ring.administration.verify_events()
    ids = (good.key_id, unclaimed.key_id, spent.key_id, offered.key_id)
    keys = (good_key, revoked_key, disabled_key, older, newer, child)
    return Lives(*keys, *ids, invited.code, session, head, clock.now)
