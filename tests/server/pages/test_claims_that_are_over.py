"""A claim and an invitation are good once, and what is over says what can be done."""

from datetime import timedelta

import anyio
import httpx2
import pytest

from mcp_keys_server import RequestedGrant
from tests.server.pages.conftest import (
    Visit,
    Visitor,
    in_the_database,
    invite,
    shown_key,
    signed_in,
    text_of,
    unclaimed,
)
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio


async def at_once(visitor: Visitor, path: str, times: int) -> list[httpx2.Response]:
    answers: list[httpx2.Response] = []

    async def send() -> None:
        answers.append(await visitor.post(path))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(times):
                group.start_soon(send)
    return answers


async def test_of_fifty_claims_at_once_one_shows_the_key(world: World, ada: Visitor) -> None:
    answers = await at_once(ada, f"/keys/{await unclaimed(world)}/claim", 50)
    shown = [key for key in map(shown_key, answers) if key]
    assert len(shown) == 1
    assert (await world.ring.verifier.verify(shown[0])).user_id == "ada"
    late = [answer for answer in answers if not shown_key(answer)]
    assert {answer.status_code for answer in late} == {410}
    assert all("was claimed already" in text_of(answer) for answer in late)


async def test_of_fifty_uses_of_an_invitation_at_once_one_shows_the_key(world: World, visitor: Visitor) -> None:
    answers = await at_once(visitor, f"/keys/invitation/{(await invite(world)).code}", 50)
    assert len([key for key in map(shown_key, answers) if key]) == 1
    late = [answer for answer in answers if not shown_key(answer)]
    assert {answer.status_code for answer in late} == {410}
    assert all("was shown" in text_of(answer) for answer in late)


async def test_the_winning_request_sent_again_shows_nothing(world: World, ada: Visitor) -> None:
    for path in (f"/keys/{await unclaimed(world)}/claim", f"/keys/invitation/{(await invite(world)).code}"):
        winner = await ada.post(path)
        assert shown_key(winner)
        again = await ada.http.send(
            httpx2.Request("POST", winner.request.url, headers=winner.request.headers, content=winner.request.content)
        )
        assert (again.status_code, shown_key(again)) == (410, None)


async def test_a_shown_key_is_for_no_cache(world: World, ada: Visitor) -> None:
    for path in (f"/keys/{await unclaimed(world)}/claim", f"/keys/invitation/{(await invite(world)).code}"):
        assert (await ada.post(path)).headers["cache-control"] == "no-store"


async def over(visitor: Visitor, path: str) -> str:
    """What both looking and pressing the button are told."""
    looked, pressed = await visitor.get(path), await visitor.post(path)
    assert (looked.status_code, pressed.status_code) == (410, 410)
    assert "Show me the key" not in looked.text + pressed.text
    assert text_of(looked) == text_of(pressed)
    return text_of(looked)


async def test_a_claim_that_is_over_says_why(world: World, ada: Visitor) -> None:
    lapsed, revoked = await unclaimed(world), await unclaimed(world)
    expired = await unclaimed(world, RequestedGrant(expires_in_days=0.001))
    made, _ = await world.key()
    await ada.post(f"/keys/{revoked}/revoke")
    assert "was handed over when it was made" in await over(ada, f"/keys/{made.key_id}/claim")
    assert "was revoked 2026-11-21 12:00 UTC" in await over(ada, f"/keys/{revoked}/claim")
    world.clock.advance(minutes=2)
    assert "has expired" in await over(ada, f"/keys/{expired}/claim")
    world.clock.advance(minutes=13)
    assert "Have another one made." in await over(ada, f"/keys/{lapsed}/claim")


async def test_a_claim_is_open_until_its_last_moment(world: World, ada: Visitor) -> None:
    key_id = await unclaimed(world)
    world.clock.advance(minutes=14, seconds=59)
    world.clock.now += timedelta(microseconds=999_999)
    assert shown_key(await ada.post(f"/keys/{key_id}/claim"))


async def test_what_a_revoked_key_asked_for_is_not_offered(world: World, ada: Visitor) -> None:
    key_id = await unclaimed(world)
    record = await world.ring.store.find_key("ada", key_id)
    assert record is not None
    await ada.post(f"/keys/{record.parent_key_id}/revoke")
    assert "The key that asked for New was revoked" in await over(ada, f"/keys/{key_id}/claim")


async def test_a_claim_whose_maker_is_nobodys_is_offered_without_a_name(world: World, ada: Visitor) -> None:
    key_id, (bobs, _) = await unclaimed(world), await world.key("bob")
    in_the_database(world, f"UPDATE keys SET parent_key_id = '{bobs.key_id}' WHERE key_id = '{key_id}'")
    answer = await ada.get(f"/keys/{key_id}/claim")
    assert answer.status_code == 200
    assert prefix_of(bobs) not in answer.text
    assert bobs.name not in answer.text


async def test_an_invitation_that_is_over_says_why(world: World, visitor: Visitor) -> None:
    replaced, lapsed = await invite(world), await invite(world)
    short = await invite(world, "bob", RequestedGrant(expires_in_days=1))
    assert "was revoked 2026-11-21 12:00 UTC" in await over(visitor, f"/keys/invitation/{replaced.code}")
    world.clock.advance(days=1)
    assert "Its key has expired" in await over(visitor, f"/keys/invitation/{short.code}")
    world.clock.advance(days=6)
    assert "Nobody used it in time" in await over(visitor, f"/keys/invitation/{lapsed.code}")


async def test_an_invitation_disowned_before_its_use_opens_nothing(world: World, visitor: Visitor) -> None:
    path = f"/keys/invitation/{(await invite(world)).code}"
    assert (await visitor.post(f"{path}/revoke")).status_code == 410
    assert "was revoked" in await over(visitor, path)


async def test_an_invitation_of_a_disabled_user_is_not_offered_again_and_again(world: World, visitor: Visitor) -> None:
    path = f"/keys/invitation/{(await invite(world)).code}"
    in_the_database(world, "UPDATE users SET disabled_at = '2026-11-21T12:00:00.000000+00:00'")
    answer = await visitor.post(path)
    assert (answer.status_code, shown_key(answer)) == (410, None)
    assert "cannot be used any more" in text_of(answer)


async def test_unknown_and_foreign_keys_are_answered_alike(world: World, visit: Visit) -> None:
    """To the byte, headers and all, or key ids could be told from guesses."""
    ada, bob = await signed_in(world, visit), await signed_in(world, visit, "bob")
    waiting, claimed, ended = await bob.create("Secret plan"), await bob.create(), await bob.create()
    await bob.post(f"/keys/{claimed}/claim")
    await bob.post(f"/keys/{ended}/revoke")
    weak = await signed_in(world, visit, "ada", RequestedGrant(scopes=frozenset({"keys:write"})))
    nothing = await signed_in(world, visit, "ada", RequestedGrant(scopes=frozenset()))
    for visitor in (ada, weak, nothing):
        for page in ("claim", "revoke", "rename"):
            answers = set()
            for key_id in ("key_0123456789abcdef", waiting, claimed, ended):
                path = f"/keys/{key_id}/{page}"
                for answer in (await visitor.get(path), await visitor.post(path, {"name": "x" * 65, "reason": "y"})):
                    assert answer.status_code == 404
                    answers.add((answer.content, tuple(answer.headers.multi_items())))
            assert len(answers) == 1
    assert (await bob.get(f"/keys/{waiting}/claim")).status_code == 200


async def test_what_is_no_key_id_is_not_there(ada: Visitor) -> None:
    for key_id in ("key_x", "KEY_0123456789ABCDEF", "key_0123456789abcdef%0a", "%00", "..", "%2e%2e", "a" * 5000):
        for page in ("claim", "revoke", "rename"):
            path = f"/keys/{key_id}/{page}"
            for answer in (await ada.get(path), await ada.post(path)):
                assert answer.status_code in (404, 405)
                assert key_id not in answer.text or len(key_id) < 3
