"""Nothing but the POST of its owner, from our own page, spends a claim or an invitation."""

from collections.abc import Mapping

import httpx2
import pytest

from mcp_keys_server.core.records import KeyStatus
from mcp_keys_server.settings import Settings
from tests.server.conftest import BASE_URL
from tests.server.pages.conftest import (
    HTTPS,
    OWN_FORM,
    Visit,
    Visitor,
    app_with,
    client,
    invite,
    shown_key,
    signed_in,
    unclaimed,
)
from tests.world import World

pytestmark = pytest.mark.anyio

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def is_open(world: World, key_id: str) -> bool:
    record = await world.ring.store.find_key("ada", key_id)
    assert record is not None
    return record.status(world.clock()) is KeyStatus.UNCLAIMED


class Temptation:
    """A claim and an invitation of Ada's, and Ada signed in."""

    def __init__(self, world: World, ada: Visitor, key_id: str, invited_id: str, code: str) -> None:
        self.world, self.ada, self.key_id, self.invited_id, self.code = world, ada, key_id, invited_id, code

    @property
    def paths(self) -> list[str]:
        invitation = f"/keys/invitation/{self.code}"
        return [
            f"/keys/{self.key_id}/claim",
            f"/keys/{self.key_id}/revoke",
            f"/keys/{self.key_id}/rename",
            invitation,
            f"{invitation}/revoke",
        ]

    async def send(
        self, method: str, headers: Mapping[str, str] | list[tuple[str, str]], http: httpx2.AsyncClient | None = None
    ) -> set[int]:
        """The statuses of the answers, none of which did anything."""
        statuses = set()
        sent = [*FORM.items(), *(headers.items() if isinstance(headers, Mapping) else headers)]
        for path in self.paths:
            answer = await (http or self.ada.http).request(method, path, headers=sent, content="name=Evil")
            assert shown_key(answer) is None
            statuses.add(answer.status_code)
        await self.nothing_happened()
        return statuses

    async def nothing_happened(self) -> None:
        for key_id, name in ((self.key_id, "New"), (self.invited_id, "First")):
            record = await self.world.ring.store.find_key("ada", key_id)
            assert record is not None
            assert (record.status(self.world.clock()), record.name) == (KeyStatus.UNCLAIMED, name)


@pytest.fixture
async def temptation(world: World, ada: Visitor) -> Temptation:
    key_id, invitation = await unclaimed(world), await invite(world)
    return Temptation(world, ada, key_id, invitation.key.key_id, invitation.code)


async def test_the_post_of_its_owner_spends_it(world: World, temptation: Temptation) -> None:
    claim, _, _, invitation, _ = temptation.paths
    assert shown_key(await temptation.ada.post(claim))
    assert shown_key(await temptation.ada.post(invitation))
    assert not await is_open(world, temptation.key_id)
    assert not await is_open(world, temptation.invited_id)


@pytest.mark.parametrize("headers", [{}, OWN_FORM, {"x-http-method-override": "POST"}], ids=str)
async def test_no_other_method_does_anything(temptation: Temptation, headers: dict[str, str]) -> None:
    for method in ("GET", "HEAD"):
        assert await temptation.send(method, headers) == {200, 405}
    for method in ("OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"):
        assert await temptation.send(method, headers) == {405 if headers == OWN_FORM else 403}


ROBOTS = [
    {"sec-purpose": "prefetch"},
    {"sec-purpose": "prefetch;prerender"},
    {"purpose": "prefetch"},
    {"x-moz": "prefetch"},
    {"x-purpose": "preview"},
    {"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
    {"user-agent": "facebookexternalhit/1.1"},
    {"user-agent": "Mozilla/5.0 (compatible; bingbot/2.0)", "sec-fetch-site": "none"},
]


async def test_a_prefetch_and_a_link_preview_do_nothing(temptation: Temptation, visitor: Visitor) -> None:
    for headers in ROBOTS:
        for http in (temptation.ada.http, visitor.http):
            for method in ("GET", "HEAD"):
                await temptation.send(method, headers, http)
            assert await temptation.send("POST", headers, http) == {403}, headers


FOREIGN = [
    [("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "same-site")],
    [("sec-fetch-site", "none")],
    [("sec-fetch-site", "")],
    [("sec-fetch-site", "garbage")],
    [("sec-fetch-site", "Same-Origin")],
    [("sec-fetch-site", "same-origin, cross-site")],
    [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "cross-site"), ("origin", BASE_URL)],
    [],
    [("origin", "https://evil.example")],
    [("origin", "null")],
    [("origin", "")],
    [("origin", "http://localhost")],
    [("origin", "http://localhost:3000")],
    [("origin", "http://127.0.0.1:8000")],
    [("origin", "http://localhost:8000.evil.example")],
    [("origin", "http://evil.example@localhost:8000")],
    [("origin", "http://localhost:8000@evil.example")],
    [("origin", "http://localhost:8000/")],
    [("origin", "//localhost:8000")],
    [("origin", "localhost:8000")],
    [("origin", "file://localhost:8000")],
    [("origin", "chrome-extension://localhost:8000")],
    [("origin", "http://[::1")],
    [("origin", "http://[")],
    [("origin", BASE_URL), ("origin", "https://evil.example")],
    [("origin", "https://evil.example"), ("origin", BASE_URL)],
    [("origin", BASE_URL), ("origin", BASE_URL)],
    [("origin", f"{BASE_URL} https://evil.example")],
    [("referer", f"{BASE_URL}/keys/")],
]


async def test_a_form_from_elsewhere_is_refused(temptation: Temptation) -> None:
    for headers in FOREIGN:
        assert await temptation.send("POST", headers) == {403}, headers


async def test_nobody_is_signed_in_or_out_or_given_a_key_by_a_form_from_elsewhere(world: World, ada: Visitor) -> None:
    _, evil = await world.key("bob")
    before, keys = ada.session, (await ada.get("/keys/")).text
    forms = {"sign-in": {"key": evil.reveal()}, "sign-out": {}, "": {"name": "x", "scopes": "keys:read"}}
    for headers in FOREIGN:
        for path, form in forms.items():
            answer = await ada.http.post(f"/keys/{path}", headers=[*FORM.items(), *headers], data=form)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), headers
    assert (ada.session, (await ada.get("/keys/")).text) == (before, keys)


@pytest.mark.parametrize("origin", [BASE_URL, "https://localhost:8000"])
async def test_a_browser_without_fetch_metadata_sends_forms_with_its_origin(
    temptation: Temptation, origin: str
) -> None:
    """Over http on a network, browsers leave Sec-Fetch-Site out; behind a proxy, their scheme is the proxy's."""
    assert shown_key(await temptation.ada.post(temptation.paths[0], headers={"origin": origin}))


async def test_a_server_of_https_takes_no_form_from_its_name_without(world: World) -> None:
    _, key = await world.key()
    app = app_with(world, Settings(public_url=HTTPS))
    async with client(app, base_url=HTTPS) as http:
        for origin, status in (("http://keys.example.com", 403), (HTTPS, 303)):
            answer = await http.post("/keys/sign-in", data={"key": key.reveal()}, headers={"origin": origin})
            assert answer.status_code == status


OTHER_HOSTS = [
    "evil.example",
    "localhost.evil.example:8000",
    "localhost:8000@evil.example",
    "",
    "x",
    "localhost:",
    "[::1",
]


async def test_under_another_name_there_are_no_pages(temptation: Temptation) -> None:
    """The origin of a page that has rebound its name is the very host that it sends."""
    for host in OTHER_HOSTS:
        for headers in (OWN_FORM, {"origin": f"http://{host}"}):
            for method in ("GET", "POST"):
                assert await temptation.send(method, {"host": host, **headers}) == {421}, host


async def test_a_key_in_a_header_is_no_session(world: World, temptation: Temptation, visitor: Visitor) -> None:
    _, key = await world.key()
    paths = ["/keys/", *temptation.paths[:3]]
    for header in ({"authorization": f"Bearer {key.reveal()}"}, {"x-api-key": key.reveal()}):
        for method in ("GET", "POST"):
            for path in paths:
                answer = await visitor.http.request(method, path, headers={**FORM, **OWN_FORM, **header})
                assert answer.status_code == 303
                assert answer.headers["location"].startswith("/keys/sign-in?next=")
        for cookie in (f"mcp_keys_session={key.reveal()}", f"session={key.reveal()}"):
            assert (await visitor.get("/keys/", {"cookie": cookie})).status_code == 303
    assert (await visitor.get(f"/keys/?api_key={key.reveal()}&key={key.reveal()}")).status_code == 303
    await temptation.nothing_happened()


async def test_who_is_signed_out_is_sent_to_sign_in_and_comes_back_to_the_page(
    world: World, temptation: Temptation, visitor: Visitor
) -> None:
    claim = temptation.paths[0]
    answer = await visitor.post(claim)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/keys/sign-in?next={claim}")
    await temptation.nothing_happened()
    asked = await visitor.get(answer.headers["location"])
    assert f'name="next" value="{claim}"' in asked.text
    _, key = await world.key()
    assert (await visitor.sign_in(key, next=claim)).headers["location"] == claim
    await temptation.nothing_happened()


async def test_another_user_does_nothing(world: World, visit: Visit, temptation: Temptation) -> None:
    bob = await signed_in(world, visit, "bob")
    for path in temptation.paths[:3]:
        for answer in (await bob.get(path), await bob.post(path, {"name": "Evil"})):
            assert answer.status_code == 404
    await temptation.nothing_happened()


async def test_an_invitation_is_not_claimed_by_its_users_other_keys(temptation: Temptation) -> None:
    """Whoever holds one of Ada's keys has not been invited, and must not use an invitation up."""
    path = f"/keys/{temptation.invited_id}/claim"
    for answer in (await temptation.ada.get(path), await temptation.ada.post(path)):
        assert (answer.status_code, shown_key(answer)) == (410, None)
        assert "waiting for whoever opens the invitation" in answer.text
    await temptation.nothing_happened()


NO_CODES = ["x", "A" * 43, "%00", "..%2f..", "%ff", "'%20OR%201=1", "x" * 5_000]


async def test_a_code_that_was_never_given_opens_nothing(temptation: Temptation, visitor: Visitor) -> None:
    for code in (*NO_CODES, temptation.code[:-1], temptation.code + "A"):
        path = f"/keys/invitation/{code}"
        answers = [await visitor.get(path), await visitor.post(path), await visitor.post(f"{path}/revoke")]
        assert {answer.status_code for answer in answers} <= {404, 405}
        assert all(code not in answer.text for answer in answers if len(code) > 1)
    await temptation.nothing_happened()
