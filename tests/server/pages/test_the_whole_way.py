import pytest

from mcp_keys_server import RequestedGrant
from mcp_keys_server.core.records import Person
from tests.server.pages.conftest import Visit, Visitor, in_the_database, invite, shown_key, signed_in, text_of
from tests.world import World

pytestmark = pytest.mark.anyio


async def verifies_as(world: World, key: str | None) -> str:
    assert key is not None
    return (await world.ring.verifier.verify(key)).user_id


async def test_from_an_invitation_to_a_second_key_that_opens(world: World, visit: Visit) -> None:
    invitation = await invite(world)
    newcomer = visit(address="198.51.100.7")
    offered = await newcomer.get(f"/keys/invitation/{invitation.code}")
    assert (offered.status_code, shown_key(offered)) == (200, None)
    first = shown_key(await newcomer.post(f"/keys/invitation/{invitation.code}"))
    assert first
    assert await verifies_as(world, first) == "ada"

    assert (await newcomer.sign_in(first)).headers["location"] == "/keys/"
    created = await newcomer.post("/keys/", {"name": "Laptop", "scopes": ["keys:read"], "expires_in_days": "30"})
    claim = created.headers["location"]
    offered = await newcomer.get(claim)
    assert (offered.status_code, shown_key(offered)) == (200, None)
    assert f"your key First ( {first[4:12]}… )" in text_of(offered)
    second = shown_key(await newcomer.post(claim))
    assert second != first
    assert await verifies_as(world, second) == "ada"


async def test_the_page_that_shows_a_key_shows_the_clients_configurations_with_it(ada: Visitor) -> None:
    answer = await ada.post(f"/keys/{await ada.create()}/claim")
    assert answer.text.count(shown_key(answer) or "") > 5
    assert "http://127.0.0.1:8000/u/ada/keys/mcp" in answer.text


async def test_a_key_for_other_endpoints_is_shown_with_one_of_those(ada: Visitor) -> None:
    key_id = await ada.create(aliases="b, a")
    assert "http://127.0.0.1:8000/u/ada/a/mcp" in (await ada.post(f"/keys/{key_id}/claim")).text


async def test_the_tools_of_a_key_are_shown_before_it_is_claimed_and_in_the_list(world: World, ada: Visitor) -> None:
    assert "Tools all of theirs" in text_of(await ada.get(f"/keys/{await ada.create()}/claim"))
    requested = RequestedGrant(tools=frozenset({"keys:list_*", "notes:add"}))
    key = await world.ring.manager.create_unclaimed_key(Person("ada"), name="New", requested=requested)
    for path in (f"/keys/{key.key_id}/claim", "/keys/"):
        assert "Tools keys:list_* notes:add" in text_of(await ada.get(path))


async def test_whoever_comes_second_reads_when_and_from_where_and_can_revoke_on_the_spot(
    world: World, ada: Visitor
) -> None:
    key_id = await ada.create()
    key = shown_key(await ada.post(f"/keys/{key_id}/claim"))
    world.clock.advance(minutes=5)
    for answer in (await ada.get(f"/keys/{key_id}/claim"), await ada.post(f"/keys/{key_id}/claim")):
        assert (answer.status_code, shown_key(answer)) == (410, None)
        assert "was claimed already, 2026-11-21 12:00 UTC from 192.0.2.1" in text_of(answer)
        assert f'href="/keys/{key_id}/revoke"' in answer.text
    assert (await ada.get(f"/keys/{key_id}/revoke")).status_code == 200
    assert (await ada.post(f"/keys/{key_id}/revoke", {"reason": "not me"})).status_code == 303
    with pytest.raises(Exception, match="revoked"):
        await verifies_as(world, key)
    ended = await ada.get("/keys/?all=1")
    assert "12:05 UTC: not me" in text_of(ended)


async def test_a_used_invitation_says_when_and_to_whom_and_is_disowned_on_the_spot(
    world: World, visit: Visit, visitor: Visitor
) -> None:
    path = f"/keys/invitation/{(await invite(world)).code}"
    key = shown_key(await visit(address="203.0.113.9").post(path))
    late = await visitor.get(path)
    assert late.status_code == 410
    assert "was shown 2026-11-21 12:00 UTC to 203.0.113.9" in text_of(late)
    assert f'action="{path}/revoke"' in late.text
    disowned = await visitor.post(f"{path}/revoke")
    assert disowned.status_code == 410
    assert "was revoked" in text_of(disowned)
    with pytest.raises(Exception, match="revoked"):
        await verifies_as(world, key)


async def test_a_used_invitation_found_late_ends_nothing(world: World, visitor: Visitor) -> None:
    path = f"/keys/invitation/{(await invite(world)).code}"
    key = shown_key(await visitor.post(path))
    world.clock.advance(days=8)
    late = await visitor.get(path)
    assert (late.status_code, "/revoke" in late.text) == (410, False)
    assert (await visitor.post(f"{path}/revoke")).status_code == 404
    assert await verifies_as(world, key) == "ada"


async def test_a_key_gets_another_name(ada: Visitor) -> None:
    key_id = await ada.create("Laptop")
    assert 'value="Laptop"' in (await ada.get(f"/keys/{key_id}/rename")).text
    answer = await ada.post(f"/keys/{key_id}/rename", {"name": " Desk "})
    assert answer.headers["location"] == f"/keys/?changed={key_id}"
    after = text_of(await ada.get(answer.headers["location"]))
    assert "The key is called Desk now." in after
    assert "Laptop" not in after.replace('placeholder="Laptop"', "")


async def test_nobody_can_make_the_page_tell_what_did_not_happen(world: World, ada: Visitor) -> None:
    bobs, _ = await world.key("bob")
    for changed in (bobs.key_id, "key_" + "0" * 16, "send money", ""):
        assert 'role="status"' not in (await ada.get(f"/keys/?changed={changed}")).text


async def test_the_list_hides_what_has_ended_until_asked(world: World, ada: Visitor) -> None:
    revoked, lapsed = await ada.create("Old laptop"), await ada.create("Never claimed")
    await ada.post(f"/keys/{revoked}/revoke")
    world.clock.advance(minutes=16)
    assert lapsed not in (now := await ada.get("/keys/")).text
    assert revoked not in now.text
    everything = text_of(await ada.get("/keys/?all=1"))
    assert "Old laptop revoked" in everything
    assert "Never claimed lapsed" in everything


async def test_a_list_of_more_than_fifty_goes_on_on_the_next_page(world: World, ada: Visitor) -> None:
    for number in range(60):
        world.clock.advance(seconds=1)
        await ada.create(f"Key number {number}")
    await ada.post(f"/keys/{await ada.create('Ended')}/revoke")
    seen: list[str] = []
    for start, word in (("/keys/", "&all=1"), ("/keys/?all=1", "")):
        page = await ada.get(start)
        assert page.text.count("<article") == 50
        older = page.text.split('href="/keys/?after=')[1].split('"')[0].replace("&amp;", "&")
        assert older.endswith("&all=1") is not bool(word)
        rest = await ada.get(f"/keys/?after={older}")
        assert "?after=" not in rest.text
        seen.append(page.text + rest.text)
    assert all(f"Key number {number}<" in text for text in seen for number in range(60))
    assert ("Ended<" in seen[0], "Ended<" in seen[1]) == (False, True)


async def test_a_page_of_a_list_that_nobody_gave_is_not_there(world: World, visit: Visit, ada: Visitor) -> None:
    bobs = await (await signed_in(world, visit, "bob")).create()
    for cursor in ("garbage", bobs, "key_0123456789abcdef"):
        assert (await ada.get(f"/keys/?after={cursor}")).status_code == 404


async def test_the_list_says_of_a_key_all_that_is_known(world: World, visit: Visit) -> None:
    ada = await signed_in(world, visit)
    key_id = await ada.create("Phone", expires_in_days="1")
    await ada.post(f"/keys/{key_id}/claim")
    in_the_database(
        world,
        "UPDATE keys SET last_used_at = '2026-11-21T13:00:00.000000+00:00', last_used_from = '203.0.113.5' "
        f"WHERE key_id = '{key_id}'",
    )
    text = text_of(await ada.get("/keys/"))
    assert "you signed in with it" in text
    assert "2026-11-21 13:00 UTC from 203.0.113.5" in text
    assert "First shown 2026-11-21 12:00 UTC to 192.0.2.1" in text
    assert "Expires 2026-11-22 12:00 UTC" in text
    about = text_of(await ada.get(f"/keys/{key_id}/revoke"))
    assert "last used at 2026-11-21 13:00 UTC from 203.0.113.5" in about


async def test_revoking_the_key_of_the_session_says_so_and_ends_it(world: World, visit: Visit) -> None:
    visitor = visit()
    record, key = await world.key()
    await visitor.sign_in(key)
    assert "you will be signed out" in text_of(await visitor.get(f"/keys/{record.key_id}/revoke"))
    await visitor.post(f"/keys/{record.key_id}/revoke")
    answer = await visitor.get("/keys/?done=revoked")
    assert answer.headers["location"] == "/keys/sign-in?next=/keys/"


async def test_the_root_leads_to_the_pages(visitor: Visitor) -> None:
    for path in ("/", "/keys"):
        answer = await visitor.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/keys/")
