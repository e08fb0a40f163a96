import httpx2
import pytest
from limits import parse

from mcp_keys_server import ApiKey
from mcp_keys_server.server.pages import app
from mcp_keys_server.settings import Settings
from tests.server.calls import call
from tests.server.pages.conftest import Visit, Visitor, app_with, client, shown_key, text_of
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio


async def offer(http: httpx2.AsyncClient, key: ApiKey, key_id: str, hours: float) -> None:
    assert not (await call(http, key, "rotate_key", {"key_id": key_id, "overlap_hours": hours})).is_error


async def test_a_new_secret_is_claimed_like_a_new_key(world: World, http: httpx2.AsyncClient, visit: Visit) -> None:
    record, old = await world.key()
    visitor = visit()
    await visitor.sign_in(old)
    await offer(http, old, record.key_id, 1.5)
    assert f"/keys/{record.key_id}/claim" in (await visitor.get("/keys/")).text
    asked = text_of(await visitor.get(f"/keys/{record.key_id}/claim"))
    assert "Claim a new secret for your key" in asked
    assert "stays good for 1.5 hours" in asked
    new = shown_key(await visitor.post(f"/keys/{record.key_id}/claim"))
    assert new
    assert (await world.ring.verifier.verify(new)).key_id == record.key_id
    listed = text_of(await visitor.get("/keys/"))
    assert f"{old.prefix}… until 2026-11-21 13:30 UTC" in listed
    again = await visitor.post(f"/keys/{record.key_id}/claim")
    assert (again.status_code, "was claimed already" in text_of(again)) == (410, True)


async def test_without_an_overlap_the_page_says_so_and_every_session_of_the_old_secret_ends(
    world: World, http: httpx2.AsyncClient, visit: Visit
) -> None:
    record, old = await world.key()
    visitor = visit()
    await visitor.sign_in(old)
    await offer(http, old, record.key_id, 0)
    assert "ends in that moment" in text_of(await visitor.get(f"/keys/{record.key_id}/claim"))
    new = shown_key(await visitor.post(f"/keys/{record.key_id}/claim"))
    assert new
    assert not await visitor.is_signed_in()
    assert (await visitor.sign_in(old)).status_code == 403
    assert (await visitor.sign_in(new)).status_code == 303


async def test_a_new_secret_that_was_not_claimed_in_time_leaves_the_old_one(
    world: World, http: httpx2.AsyncClient, visit: Visit
) -> None:
    record, old = await world.key()
    await offer(http, old, record.key_id, 0)
    world.clock.advance(minutes=15)
    visitor = visit()
    await visitor.sign_in(old)
    answer = await visitor.get(f"/keys/{record.key_id}/claim")
    assert answer.status_code == 410
    assert "Nobody claimed the new secret" in text_of(answer)


async def test_one_session_claims_only_so_many_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "CLAIMS", parse("1 per hour"))
    _, key = await world.key()
    async with client(app_with(world, Settings())) as http:
        visitor = Visitor(http)
        await visitor.sign_in(key)
        first, second = await visitor.create("One"), await visitor.create("Two")
        assert shown_key(await visitor.post(f"/keys/{first}/claim"))
        answer = await visitor.post(f"/keys/{second}/claim")
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 3600


async def test_a_stolen_key_is_ended_on_its_page_with_all_that_it_made(world: World, visit: Visit) -> None:
    record, stolen = await world.key()
    thief = await world.ring.verifier.verify(stolen.reveal())
    made, _ = await world.ring.manager.create_key(thief, name="x", requested=NOTHING_SPECIAL)
    _, good = await world.key()
    visitor = visit()
    await visitor.sign_in(good)
    await visitor.post(f"/keys/{record.key_id}/revoke", {"cascade": "1", "reason": "stolen"})
    ended = await world.ring.store.find_key("ada", made.key_id)
    assert ended
    assert ended.revoked_reason == "stolen"
