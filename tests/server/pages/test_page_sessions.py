import secrets

import pytest

from mcp_keys_server import RequestedGrant
from mcp_keys_server.settings import Settings
from tests.server.pages.conftest import COOKIE, OWN_FORM, Visit, Visitor, app_with, client, in_the_database
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_every_sign_in_begins_a_new_session_and_ends_the_one_before(
    world: World, visit: Visit, visitor: Visitor
) -> None:
    _, key = await world.key()
    sessions: set[str] = set()
    for _ in range(3):
        assert (await visitor.sign_in(key)).status_code == 303
        for former in sessions:
            riding = visit()
            riding.use_session(former)
            assert not await riding.is_signed_in()
        sessions.add(visitor.session)
    assert len(sessions) == 3


async def test_a_session_that_somebody_else_chose_never_begins(world: World, visit: Visit, visitor: Visitor) -> None:
    _, key = await world.key()
    planted = secrets.token_urlsafe(32)
    answer = await visitor.post("/keys/sign-in", {"key": key.reveal()}, {**OWN_FORM, "cookie": f"{COOKIE}={planted}"})
    assert answer.status_code == 303
    assert planted not in str(answer.headers)
    riding = visit()
    riding.use_session(planted)
    assert not await riding.is_signed_in()


async def test_signing_out_ends_the_session_on_the_server(visit: Visit, ada: Visitor) -> None:
    riding = visit()
    riding.use_session(ada.session)
    assert await riding.is_signed_in()
    answer = await ada.post("/keys/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/keys/sign-in")
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert not await ada.is_signed_in()
    assert not await riding.is_signed_in()


async def test_who_is_not_signed_in_signs_out_as_well(visitor: Visitor) -> None:
    assert (await visitor.post("/keys/sign-out")).status_code == 303
    assert (await visitor.get("/keys/sign-out")).status_code == 405


async def test_of_two_sessions_at_most_one_holds(visit: Visit, ada: Visitor) -> None:
    """A neighbour on the host can add a cookie of the same name, but not make its word count with ours."""
    both = visit()
    for first, second in ((ada.session, "planted"), ("planted", ada.session), ("", ada.session)):
        both.http.headers["cookie"] = f"{COOKIE}={first}; {COOKIE}={second}"
        assert (await both.get("/keys/")).status_code in (200, 303)


NO_SESSIONS = ["", "=", "x", '"', "\\", "%00", "\xe4", "\x80", "a" * 8_000, ";;;,,,", '"\\377"']


async def test_a_cookie_of_anything_is_no_session(visitor: Visitor) -> None:
    for cookie in NO_SESSIONS:
        for text in (f"{COOKIE}={cookie}", cookie):
            answer = await visitor.http.get("/keys/", headers=[(b"cookie", text.encode("latin-1"))])
            assert (answer.status_code, answer.headers["location"]) == (303, "/keys/sign-in?next=/keys/")


async def test_what_is_stored_of_a_session_opens_none(world: World, ada: Visitor) -> None:
    assert ada.session.encode() not in world.stored_bytes()


async def test_a_session_ends_at_once_with_its_key(world: World, visitor: Visitor) -> None:
    record, key = await world.key()
    await visitor.sign_in(key)
    assert await visitor.is_signed_in()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    assert not await visitor.is_signed_in()
    answer = await visitor.post("/keys/", {"name": "x", "scopes": "keys:read"})
    assert answer.headers["location"].startswith("/keys/sign-in")


async def test_a_session_ends_when_its_key_expires(world: World, visitor: Visitor) -> None:
    _, key = await world.key("ada", RequestedGrant(expires_in_days=10 / 1440))
    await visitor.sign_in(key)
    world.clock.advance(minutes=9, seconds=59)
    assert await visitor.is_signed_in()
    world.clock.advance(seconds=1)
    assert not await visitor.is_signed_in()


async def test_a_session_ends_when_its_owner_is_disabled(world: World, ada: Visitor) -> None:
    in_the_database(world, "UPDATE users SET disabled_at = '2026-11-21T12:00:00.000000+00:00' WHERE user_id = 'ada'")
    assert not await ada.is_signed_in()


async def test_a_session_that_ended_with_what_was_disabled_does_not_come_back(world: World, visitor: Visitor) -> None:
    operator = world.ring.administration
    record, key = await world.key()
    _, others_key = await world.key("bob")
    for disable, enable, what in (
        (operator.disable_key, operator.enable_key, record.key_id),
        (operator.disable_user, operator.enable_user, "ada"),
        (operator.disable_user, operator.enable_user, "bob"),
    ):
        await visitor.sign_in(key)
        await disable(what)
        assert await visitor.is_signed_in() is (what == "bob")
        await enable(what)
        assert await visitor.is_signed_in() is (what == "bob")
    await visitor.sign_in(others_key)
    await operator.disable_key(record.key_id)
    assert await visitor.is_signed_in()


async def test_a_session_ends_when_its_key_does_not_open_the_keys_any_more(world: World, ada: Visitor) -> None:
    in_the_database(world, "UPDATE keys SET aliases = 'files'")
    assert not await ada.is_signed_in()


async def test_pages_and_sign_ins_without_end_are_refused_for_a_while(world: World) -> None:
    _, key = await world.key()
    _, other = await world.key()
    app = app_with(world, Settings(calls_per_minute=3))
    async with client(app) as http, client(app, address="198.51.100.1") as other_http:
        here, elsewhere = Visitor(http), Visitor(other_http)
        assert (await here.sign_in(key)).status_code == 303
        assert [(await here.get("/keys/")).status_code for _ in range(3)] == [200, 200, 429]
        refused = await here.sign_in(key)
        assert (refused.status_code, refused.headers["retry-after"].isdecimal()) == (429, True)
        assert "Wait a minute" in refused.text
        assert (await here.sign_in(other)).status_code == 303
        assert (await elsewhere.sign_in(key)).status_code == 303
        assert await elsewhere.is_signed_in()


async def test_an_idle_session_ends_after_half_an_hour(world: World, ada: Visitor) -> None:
    for _ in range(4):
        world.clock.advance(minutes=29, seconds=59)
        assert await ada.is_signed_in()
    world.clock.advance(minutes=30)
    assert not await ada.is_signed_in()


async def test_a_session_in_use_ends_after_twelve_hours(world: World, ada: Visitor) -> None:
    for _ in range(12 * 4 - 1):
        world.clock.advance(minutes=15)
        assert await ada.is_signed_in()
    world.clock.advance(minutes=15)
    assert not await ada.is_signed_in()


async def test_each_visitor_sees_their_own_keys(world: World, visit: Visit) -> None:
    ada, bob = visit(), visit()
    for user, visitor in (("ada", ada), ("bob", bob)):
        await visitor.sign_in((await world.key(user))[1])
        await visitor.create(f"Of {user}")
    assert "Of bob" not in (await ada.get("/keys/?all=1")).text
    assert "Of ada" not in (await bob.get("/keys/?all=1")).text
