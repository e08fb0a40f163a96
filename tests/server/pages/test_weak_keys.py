"""A session may do what the key that began it may, and no more."""

import pytest

from mcp_keys_server import RequestedGrant
from mcp_keys_server.core.records import KeyStatus
from tests.server.pages.conftest import Visit, Visitor, shown_key, signed_in, text_of, unclaimed
from tests.world import World

pytestmark = pytest.mark.anyio

READ, WRITE = frozenset({"keys:read"}), frozenset({"keys:write"})
BOTH = READ | WRITE


async def test_a_session_of_a_key_that_only_reads_changes_nothing(world: World, visit: Visit) -> None:
    reader, key_id = await signed_in(world, visit, "ada", RequestedGrant(scopes=READ)), await unclaimed(world)
    keys = await reader.get("/keys/")
    assert (keys.status_code, "New key" in text_of(keys)) == (200, False)
    answers = [
        await reader.post(f"/keys/{key_id}/claim"),
        await reader.post(f"/keys/{key_id}/rename", {"name": "Evil"}),
        await reader.post(f"/keys/{key_id}/revoke"),
        await reader.post("/keys/", {"name": "Evil", "scopes": "keys:read"}),
    ]
    for answer in answers:
        assert (answer.status_code, shown_key(answer)) == (403, None)
    assert all("needs the scope keys:write and has only: keys:read" in text_of(answer) for answer in answers[:3])
    after = text_of(await reader.get("/keys/?all=1"))
    assert "New unclaimed" in after
    assert "Evil" not in after


WEAKER = [
    ("a scope less", RequestedGrant(scopes=BOTH | {"files:read"}), RequestedGrant(scopes=BOTH)),
    ("fewer aliases", RequestedGrant(aliases=frozenset({"keys", "b"})), RequestedGrant(aliases=frozenset({"keys"}))),
    ("aliases that are told", RequestedGrant(), RequestedGrant(aliases=frozenset({"keys", "b"}))),
    ("tools that are told", RequestedGrant(), RequestedGrant(tools=frozenset({"keys:*"}))),
    ("an earlier end", RequestedGrant(expires_in_days=2), RequestedGrant(expires_in_days=1)),
    ("an end", RequestedGrant(), RequestedGrant(expires_in_days=3650)),
]


@pytest.mark.parametrize(("asked", "weaker"), [case[1:] for case in WEAKER], ids=[case[0] for case in WEAKER])
async def test_a_weaker_key_claims_nothing_that_may_more(
    world: World, visit: Visit, asked: RequestedGrant, weaker: RequestedGrant
) -> None:
    _, operators = await world.key("ada", RequestedGrant(scopes=BOTH | {"files:read"}))
    maker = await world.ring.verifier.verify(operators.reveal())
    key = await world.ring.manager.create_unclaimed_key(maker, name="New", requested=asked)
    weak = await signed_in(world, visit, "ada", weaker)
    answer = await weak.post(f"/keys/{key.key_id}/claim")
    assert (answer.status_code, shown_key(answer)) == (403, None)
    assert "use the key that made it" in text_of(answer)
    found = await world.ring.store.find_key("ada", key.key_id)
    assert found is not None
    assert found.status(world.clock()) is KeyStatus.UNCLAIMED
    strong = visit()
    await strong.sign_in(operators)
    assert shown_key(await strong.post(f"/keys/{key.key_id}/claim"))


async def test_a_session_makes_no_key_that_may_more_than_its_own(world: World, visit: Visit) -> None:
    grant = RequestedGrant(scopes=BOTH, aliases=frozenset({"keys", "b"}), expires_in_days=1)
    weak = await signed_in(world, visit, "ada", grant)
    for field, text, told in (
        ("scopes", "files:read", "it has: keys:read, keys:write"),
        ("aliases", "files", "it opens: b, keys"),
        ("expires_in_days", "2", "would outlive the key in use"),
    ):
        answer = await weak.post("/keys/", {"name": "Evil", "scopes": "keys:read", field: text})
        assert answer.status_code == 403, field
        assert told in text_of(answer), field
        assert 'value="Evil"' in answer.text
    assert (await weak.get("/keys/")).text.count("<article") == 1
    record = await world.ring.store.find_key("ada", await weak.create())
    assert record is not None
    assert (record.grant.aliases, record.grant.expires_at is None) == (frozenset({"keys", "b"}), False)


async def test_a_key_without_scopes_sees_itself_alone_and_may_end_itself(world: World, visit: Visit) -> None:
    record, key = await world.key("ada", RequestedGrant(scopes=frozenset()))
    visitor: Visitor = visit()
    await visitor.sign_in(key)
    keys = await visitor.get("/keys/")
    other = await unclaimed(world)
    assert keys.text.count("<article") == 1
    assert (record.key_id in keys.text, "Sign out" in keys.text) == (True, True)
    assert 'role="status"' not in (await visitor.get(f"/keys/?changed={other}")).text
    for page in ("claim", "rename", "revoke"):
        assert (await visitor.get(f"/keys/{other}/{page}")).status_code == 403
        assert (await visitor.post(f"/keys/{other}/{page}", {"name": "Evil"})).status_code == 403
    assert (await visitor.post(f"/keys/{record.key_id}/revoke")).status_code == 303
    assert not await visitor.is_signed_in()


async def test_a_key_that_writes_without_reading_claims_what_it_asked_for(world: World, visit: Visit) -> None:
    writer = await signed_in(world, visit, "ada", RequestedGrant(scopes=WRITE))
    answer = await writer.post("/keys/", {"name": "Mine"})
    claim = answer.headers["location"]
    assert "your key A key" in text_of(await writer.get(claim))
    assert shown_key(await writer.post(claim))
