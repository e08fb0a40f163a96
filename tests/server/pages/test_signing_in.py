import re

import pytest
from starlette.types import ASGIApp

from mcp_keys_server import ApiKey, RequestedGrant
from mcp_keys_server.settings import Settings
from tests.server.pages.conftest import COOKIE, HTTPS, Visit, Visitor, app_with, client, in_the_database, text_of
from tests.world import World

pytestmark = pytest.mark.anyio

REFUSED = "This is not a valid API key: it is mistyped or cut off, or it has expired or was revoked."


async def test_keys_that_are_no_good_get_one_and_the_same_page(world: World, visit: Visit) -> None:
    revoked, key = await world.key()
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    _, expired = await world.key("ada", RequestedGrant(expires_in_days=1))
    _, disabled = await world.key("bob")
    in_the_database(world, "UPDATE users SET disabled_at = '2026-11-21T12:00:00.000000+00:00' WHERE user_id = 'bob'")
    world.clock.advance(days=1)
    good = (await world.key())[1].reveal()
    bad = [key.reveal(), expired.reveal(), disabled.reveal(), good[:-1], good + "A", good[:-1] + "!", good.upper()]
    bad += [f"Bearer {good}", f"{good} {good}", "", "x", "\x00", "ключ", "x" * 10_000, "<b>x</b>", "' OR 1=1 --"]
    answers = set()
    for number, pasted in enumerate(bad):
        answer = await visit(address=f"198.51.100.{number}").sign_in(pasted, next="/keys/")
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), pasted
        answers.add((answer.content, tuple(answer.headers.multi_items())))
        assert REFUSED in text_of(answer)
    assert len(answers) == 1


async def test_a_key_with_white_space_around_it_was_pasted_well(world: World, visitor: Visitor) -> None:
    _, key = await world.key()
    assert (await visitor.sign_in(f" \t{key.reveal()}\r\n")).status_code == 303


async def test_a_key_that_does_not_open_the_keys_signs_nobody_in(world: World, visitor: Visitor) -> None:
    _, key = await world.key("ada", RequestedGrant(aliases=frozenset({"files"})))
    answer = await visitor.sign_in(key)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert "does not open the endpoint 'keys'" in text_of(answer)
    assert not await visitor.is_signed_in()


async def fail(visitor: Visitor, times: int = 10) -> None:
    for _ in range(times):
        assert (await visitor.sign_in("wrong")).status_code == 403


async def test_after_ten_failures_more_of_them_are_told_to_wait_and_the_right_key_gets_in(
    world: World, visit: Visit
) -> None:
    _, key = await world.key()
    guesser, somebody = visit(), visit(address="192.0.2.2")
    await fail(guesser)
    answer = await guesser.sign_in("wrong")
    assert (answer.status_code, "set-cookie" in answer.headers) == (429, False)
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert "Too many tries" in text_of(answer)
    assert not await guesser.is_signed_in()
    assert (await somebody.sign_in("wrong")).status_code == 403
    assert (await visit().sign_in(key)).status_code == 303


async def test_success_does_not_count(world: World, visitor: Visitor) -> None:
    _, key = await world.key()
    for _ in range(12):
        assert (await visitor.sign_in(key)).status_code == 303
    await fail(visitor, 10)
    assert (await visitor.sign_in("wrong")).status_code == 429


async def test_who_is_signed_in_stays_so_while_their_address_is_closed(ada: Visitor, visit: Visit) -> None:
    await fail(visit())
    assert await ada.is_signed_in()


async def test_the_address_opens_again(world: World, visitor: Visitor) -> None:
    await fail(visitor, 10)
    answer = await visitor.sign_in("wrong")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "300")  # as it is on the stroke of noon
    world.clock.advance(minutes=5)
    assert (await visitor.sign_in("wrong")).status_code == 403


ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/keys//evil.example",
    "/keys/../evil",
    "/keys/@evil.example",
    "/keys/\r\nset-cookie: a=b",
    "/keys/\n",
    "/keys/key_0123456789abcdef/claim\n",
    "/keys/key_0123456789abcdef/claim?x=//evil.example",
    "/keys/key_0123456789ABCDEF/claim",
    "/keys/key_0123456789abcdef",
    "/keys/sign-out",
    "/keys/?all=1",
    "/keysevil.example",
    "/keys.evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "http:/keys/",
    " /keys/",
    "/%2fevil.example",
    "/keys/%2e%2e/%2e%2e//evil.example",
    "/u/ada/keys/mcp",
    "",
]
OWN = ["/keys/", *(f"/keys/key_0123456789abcdef/{page}" for page in ("claim", "revoke", "rename"))]


async def test_signing_in_leads_to_pages_of_ours_only(world: World, visitor: Visitor) -> None:
    _, key = await world.key()
    for wanted in [*ELSEWHERE, *OWN]:
        there = wanted if wanted in OWN else "/keys/"
        assert (await visitor.sign_in(key, next=wanted)).headers["location"] == there, wanted
        already = await visitor.http.get("/keys/sign-in", params={"next": wanted})
        assert (already.status_code, already.headers["location"]) == (303, there), wanted
        await visitor.post("/keys/sign-out")
        page = await visitor.http.get("/keys/sign-in", params={"next": wanted})
        assert re.findall('name="next" value="(.*)"', page.text) == [there], wanted


async def test_the_way_back_repeats_nothing_that_is_no_page_of_ours(world: World, visitor: Visitor) -> None:
    _, key = await world.key()
    for path in (f"/keys/{key.reveal()}/claim", f"/keys/{key.reveal()}/rename", "/keys/key_1/revoke"):
        assert (await visitor.get(path)).headers["location"] == "/keys/sign-in?next=/keys/"


async def test_the_page_to_sign_in_keeps_the_way_back(visitor: Visitor) -> None:
    for page in OWN:
        asked = await visitor.get(page)
        assert (asked.status_code, asked.headers["location"]) == (303, f"/keys/sign-in?next={page}")
        assert f'value="{page}"' in (await visitor.get(asked.headers["location"])).text
        again = await visitor.sign_in("", next=page)
        assert again.status_code == 403
        assert f'value="{page}"' in again.text


async def sign_in_over(app: ASGIApp, base_url: str, key: ApiKey) -> tuple[Visitor, str]:
    visitor = Visitor(client(app, base_url=base_url))
    (line,) = (await visitor.sign_in(key)).headers.get_list("set-cookie")
    return visitor, line


async def test_the_cookie_of_a_session_is_for_this_server_and_no_script(world: World, app: ASGIApp) -> None:
    _, key = await world.key()
    visitor, line = await sign_in_over(app, "http://localhost:8000", key)
    name, rest = line.split("=", 1)
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert (name, attributes) == ("mcp_keys_session", {"httponly", "max-age=43200", "path=/keys/", "samesite=lax"})
    assert len(visitor.session) == 43
    await visitor.http.aclose()


async def test_over_https_the_cookie_is_kept_to_https_and_to_this_very_host(world: World) -> None:
    _, key = await world.key()
    visitor, line = await sign_in_over(app_with(world, Settings(public_url=HTTPS)), HTTPS, key)
    name, rest = line.split("=", 1)
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert name == "__Host-mcp_keys_session"
    assert attributes == {"httponly", "max-age=43200", "path=/", "samesite=lax", "secure"}
    assert await visitor.is_signed_in()
    # What a neighbour under the same domain could set is no session here.
    stolen = Visitor(client(app_with(world, Settings(public_url=HTTPS)), base_url=HTTPS))
    stolen.use_session(visitor.session)
    assert not await stolen.is_signed_in()
    gone = (await visitor.post("/keys/sign-out")).headers["set-cookie"].lower()
    assert all(word in gone for word in ("__host-mcp_keys_session=", "secure", "path=/", "max-age=0"))
    for each in (visitor, stolen):
        await each.http.aclose()


async def test_of_two_cookies_neither_counts(world: World, app: ASGIApp) -> None:
    _, key = await world.key()
    visitor, _ = await sign_in_over(app, "http://localhost:8000", key)
    session = visitor.session
    visitor.http.cookies.clear()
    for cookies, counts in (
        (f"{COOKIE}={session}", True),
        (f"other=1; {COOKIE}={session}", True),
        (f"{COOKIE}={session}; {COOKIE}=planted", False),
        (f"{COOKIE}=planted; {COOKIE}={session}", False),
    ):
        answer = await visitor.get("/keys/", {"cookie": cookies})
        assert (answer.status_code == 200) is counts
    await visitor.http.aclose()
