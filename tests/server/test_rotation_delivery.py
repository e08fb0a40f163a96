"""A rotated key's new secret reaches its person like any other, and breaks nothing on its way."""

from pathlib import Path

import httpx2
import pytest

from mcp_keys_server import InvalidApiKeyError, RequestedGrant
from mcp_keys_server.core.errors import KeyNotFoundError
from mcp_keys_server.server.delivery import Call
from mcp_keys_server.server.file_delivery import FileDelivery, KeyFileError
from mcp_keys_server.server.link_delivery import CLAIM, LinkDelivery
from mcp_keys_server.server.tool_results import ClaimableKey
from tests.conftest import KEY
from tests.server.calls import MODERN, call
from tests.world import World

pytestmark = pytest.mark.anyio


def link(world: World) -> LinkDelivery:
    return LinkDelivery(world.ring.manager, "https://keys.example.com", seconds_to_wait=0, clock=world.clock)


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_nothing_changes_until_the_new_secret_is_claimed_and_the_old_one_lasts_through_the_overlap(
    world: World, http: httpx2.AsyncClient, *, modern: bool
) -> None:
    record, old = await world.key()
    arguments = {"key_id": record.key_id, "overlap_hours": 2}
    offered = await call(http, old, "rotate_key", arguments, modern=modern)
    assert offered.structured["status"] == "active"
    assert offered.structured["claim_url"].endswith(f"/keys/{record.key_id}/claim")
    assert not KEY.search(offered.response.text)
    world.clock.advance(minutes=1)
    await world.ring.verifier.verify(old.reveal())
    new = await world.claim(old, record.key_id)
    assert (await world.ring.verifier.verify(new.reveal())).key_id == record.key_id
    shown = (await call(http, old, "get_key", {"key_id": record.key_id}, modern=modern)).structured
    assert [secret["prefix"] for secret in shown["secrets"]] == [new.prefix, old.prefix]
    assert shown["secrets"][1]["ends_at"] == "2026-11-21T14:01:00Z"
    world.clock.advance(hours=2)
    with pytest.raises(InvalidApiKeyError, match="a newer one has taken its place"):
        await world.ring.verifier.verify(old.reveal())
    await world.ring.verifier.verify(new.reveal())


async def test_a_new_secret_that_nobody_claims_changes_nothing(world: World) -> None:
    record, old = await world.key()
    principal = await world.ring.verifier.verify(old.reveal())
    await link(world).rotate(Call(principal), key_id=record.key_id, overlap_hours=0)
    world.clock.advance(minutes=15)
    assert await world.ring.verifier.verify(old.reveal()) == principal
    answered = Call(principal, answers={CLAIM: "accept"}, state=record.key_id)
    result = await link(world).rotate(answered, key_id=record.key_id, overlap_hours=0)
    assert isinstance(result, ClaimableKey)
    assert "never will be" in result.what_to_do


async def test_an_owner_who_declines_a_new_secret_keeps_the_key_as_it_is(world: World) -> None:
    record, old = await world.key()
    principal = await world.ring.verifier.verify(old.reveal())
    await link(world).rotate(Call(principal, opens_links=True), key_id=record.key_id, overlap_hours=0)
    answered = Call(principal, opens_links=True, answers={CLAIM: "decline"}, state=record.key_id)
    await link(world).rotate(answered, key_id=record.key_id, overlap_hours=0)
    assert await world.ring.verifier.verify(old.reveal()) == principal


async def test_the_state_of_another_key_is_refused(world: World) -> None:
    record, old = await world.key()
    other, _ = await world.key()
    principal = await world.ring.verifier.verify(old.reveal())
    with pytest.raises(KeyNotFoundError):
        await link(world).rotate(Call(principal, state=other.key_id), key_id=record.key_id, overlap_hours=0)


async def test_a_new_secret_in_a_file_is_beside_the_old_one(world: World, tmp_path: Path) -> None:
    record, old = await world.key()
    principal = await world.ring.verifier.verify(old.reveal())
    delivery = FileDelivery(world.ring.manager, tmp_path / "keys", clock=world.clock)
    made = await delivery.rotate(Call(principal), key_id=record.key_id, overlap_hours=1)
    new = Path(made.key_file).read_text().strip()
    assert {(await world.ring.verifier.verify(key)).key_id for key in (new, old.reveal())} == {record.key_id}


async def test_where_no_file_can_be_made_no_secret_is_replaced(world: World, tmp_path: Path) -> None:
    record, old = await world.key()
    principal = await world.ring.verifier.verify(old.reveal())
    (tmp_path / "taken").write_text("")
    with pytest.raises(KeyFileError, match="nothing was done"):
        await FileDelivery(world.ring.manager, tmp_path / "taken", clock=world.clock).rotate(
            Call(principal), key_id=record.key_id, overlap_hours=0
        )
    assert await world.ring.verifier.verify(old.reveal()) == principal


async def test_a_weak_key_gets_no_secret_of_a_stronger_one(world: World, inline_http: httpx2.AsyncClient) -> None:
    strong, _ = await world.key(requested=RequestedGrant(scopes=frozenset({"keys:write", "orders:read"})))
    _, weak = await world.key(requested=RequestedGrant(scopes=frozenset({"keys:write"})))
    refused = await call(inline_http, weak, "rotate_key", {"key_id": strong.key_id})
    assert refused.is_error
    assert "this key may do more" in refused.text
