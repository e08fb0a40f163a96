"""Every page, whoever visits, with every method, on keys of theirs and of others."""

from collections.abc import Iterable, Mapping
from itertools import product

import httpx2
import pytest

from mcp_keys_server import Principal, RequestedGrant
from mcp_keys_server.server.pages.visitors import Visitors
from tests.authorisation.callers import BOTH, GRANTS, Caller, Standing, holdings, others, with_key
from tests.authorisation.conftest import Site
from tests.authorisation.table import ROUTES, Page
from tests.conftest import KEY
from tests.server.conftest import client_of
from tests.server.pages.conftest import OWN_FORM, invite

pytestmark = pytest.mark.anyio

PAGES: Mapping[str, Page] = {path: rule for path, rule in ROUTES.items() if isinstance(rule, Page)}
OF_SESSIONS = {path: rule for path, rule in PAGES.items() if path not in {"/keys/static/*", "/keys/sign-in"}}
FORM = {"content-type": "application/x-www-form-urlencoded"}
FIELDS = {"name": "Changed"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"]

OWN, OTHERS, NOBODYS = "their own", "another user's", "nobody's"
SIGN_IN, NOT_THERE, NOT_PERMITTED, NO_SUCH_METHOD, DONE = (
    "sign in",
    "not there",
    "not permitted",
    "no such method",
    "ok",
)


def expected(visitor: Caller, page: Page, method: str, target: str) -> str:
    if method not in page.methods:
        return NO_SUCH_METHOD
    if page is PAGES["/keys/sign-out"]:
        return SIGN_IN
    if visitor.standing is not Standing.GOOD:
        return SIGN_IN
    if page.of_key and target != OWN:
        return NOT_THERE
    allowed = visitor.has(page.to_see) and (method == "GET" or visitor.has(page.to_do))
    return DONE if allowed else NOT_PERMITTED


def told(answer: httpx2.Response) -> str:
    if answer.headers.get("location", "").startswith("/keys/sign-in"):
        return SIGN_IN
    kinds = {200: DONE, 303: DONE, 403: NOT_PERMITTED, 404: NOT_THERE, 405: NO_SUCH_METHOD}
    return kinds.get(answer.status_code, str(answer.status_code))


async def visitors(site: Site) -> list[tuple[Caller, dict[str, str]]]:
    """Who has a session, and who has none; with the headers that they send."""
    found = []
    nobodies = await others(site.world)  # first, because with them time passes, in which sessions end
    for user in ("ada", "bob"):
        for name, grant in GRANTS.items():
            if name != "a key of another alias" and (user == "ada" or name == "a full key"):
                _, key = await site.world.key(user, grant)
                caller = with_key(f"a session of {name} of {user}", Standing.GOOD, "", user, grant=grant)
                found.append((caller, {"cookie": await session(site, key.reveal())}))
    record, key = await site.world.key()
    ended = await session(site, key.reveal())
    await site.world.ring.administration.revoke_key(record.key_id, reason=None)
    found.append((Caller("a session of a revoked key", Standing.BAD), {"cookie": ended}))
    _, key = await site.world.key()
    signed_out = await session(site, key.reveal())
    await site.http.post("/keys/sign-out", headers={**FORM, **OWN_FORM, "cookie": signed_out})
    found.append((Caller("a session that was signed out", Standing.NONE), {"cookie": signed_out}))
    # Of keys, good ones too, and whatever looks like them none is a session.
    found += [(caller, dict(caller.headers)) for caller in nobodies if caller.name in {"a revoked key", "a cookie"}]
    found.append((Caller("nobody", Standing.NONE), {}))
    found.append((Caller("a full key in a header", Standing.NONE), {"x-api-key": key.reveal()}))
    found.append((Caller("a key for a session", Standing.NONE), {"cookie": f"mcp_keys_session={key.reveal()}"}))
    return found


async def session(site: Site, key: str) -> str:
    """The cookie of a new one."""
    async with client_of(site.app) as http:
        answer = await http.post("/keys/sign-in", data={"key": key}, headers=OWN_FORM)
    assert answer.status_code == 303
    return str(answer.headers["set-cookie"].partition(";")[0])


class Targets:
    """Keys that wait to be claimed, as those that read and write may do; each lasts until something is done to it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._asking: dict[str, Principal] = {}
        self._waiting: dict[str, str] = {}

    async def key_id(self, target: str, user: str) -> str:
        if target == NOBODYS:
            return "key_0123456789abcdef"
        owner = user if target == OWN else {"ada": "bob", "bob": "ada"}[user]
        if owner not in self._asking:
            self._asking[owner] = await self._site.world.principal(owner, RequestedGrant(BOTH))
        if owner not in self._waiting:
            few = RequestedGrant(frozenset({"keys:read"}), tools=frozenset({"keys:whoami"}))
            made = self._site.world.ring.manager.create_unclaimed_key(self._asking[owner], name="Waits", requested=few)
            self._waiting[owner] = (await made).key_id
        return self._waiting[owner]

    def spend(self, user: str) -> None:
        self._waiting.pop(user, None)


async def wrong_pages(site: Site, who: Iterable[tuple[Caller, dict[str, str]]], methods: list[str]) -> list[object]:
    """The cells that are not answered as the table says."""
    wrong, targets = list[object](), Targets(site)
    for (visitor, headers), (path, page), method in product(who, OF_SESSIONS.items(), methods):
        user = visitor.user or "ada"
        of_strangers = set()
        for target in (OWN, OTHERS, NOBODYS) if page.of_key else (OWN,):
            if visitor.standing is Standing.GOOD and page is PAGES["/keys/sign-out"]:
                continue  # after which there would be no session for the others
            key_id = await targets.key_id(target, user)
            before = await holdings(site.world)
            answer = await visit(site, method, path.format(key_id=key_id), headers)
            outcome, should = told(answer), expected(visitor, page, method, target)
            changed = {row[1] for row in set(map(repr_of, await holdings(site.world))) ^ set(map(repr_of, before))}
            shown = KEY.search(answer.text) is not None
            does = should == DONE and method == "POST"
            if (
                outcome != should
                or changed != ({user} if does else set())
                or shown != (does and path.endswith("claim"))
            ):
                wrong.append((visitor.name, method, path, target, should, outcome, changed, shown))
            if changed:
                targets.spend(user)
            if target != OWN:
                of_strangers.add((answer.content, answer.headers.get("location", "").replace(key_id, "")))
        if len(of_strangers) > 1:
            wrong.append((visitor.name, method, path, "tells others' keys from those that are not there"))
    return wrong


def repr_of(row: tuple[object, ...]) -> tuple[str, object]:
    return repr(row), row[1]


async def visit(site: Site, method: str, path: str, headers: Mapping[str, str]) -> httpx2.Response:
    fields = FIELDS if method == "POST" else None
    return await site.http.request(method, path, data=fields, headers={**FORM, **OWN_FORM, **headers})


async def test_whoever_visits_gets_what_the_table_says(site: Site) -> None:
    assert await wrong_pages(site, await visitors(site), ["GET", "POST"]) == []


async def test_no_other_method_is_answered(site: Site) -> None:
    who = [each for each in await visitors(site) if each[0].name in {"a session of a full key of ada", "nobody"}]
    assert len(who) == 2
    assert await wrong_pages(site, who, METHODS) == []


async def test_sign_in_and_what_pages_are_made_of_are_the_same_for_everybody(site: Site) -> None:
    answers = set()
    for visitor, headers in await visitors(site):
        styles = await visit(site, "GET", "/keys/static/pages.css", headers)
        signing_in = await visit(site, "GET", "/keys/sign-in", headers)
        assert signing_in.status_code == (303 if visitor.standing is Standing.GOOD else 200)
        answers.add((styles.status_code, styles.content))
        if visitor.standing is not Standing.GOOD:
            answers.add((signing_in.status_code, signing_in.content))
    assert len(answers) == 2


async def test_a_key_that_is_not_good_or_of_another_alias_begins_no_session(site: Site) -> None:
    _, elsewhere = await site.world.key("ada", GRANTS["a key of another alias"])
    refused = [caller.presented for caller in await others(site.world)] + [elsewhere.reveal()]
    for presented in refused:
        answer = await site.http.post("/keys/sign-in", data={"key": presented}, headers=OWN_FORM)
        assert answer.status_code in {403, 429}
        assert "set-cookie" not in answer.headers


async def test_an_invitation_is_for_whoever_has_its_code_and_for_nobody_else(site: Site) -> None:
    who = await visitors(site)
    for visitor, headers in who:
        made_up = {(await visit(site, "GET", f"/keys/invitation/{code}", headers)).content for code in ("x", "A" * 43)}
        assert len(made_up) == 1
        for path in ("/keys/invitation/made-up", "/keys/invitation/made-up/revoke"):
            answer = await visit(site, "POST", path, headers)
            assert (answer.status_code, KEY.search(answer.text)) == (404, None), visitor
    for visitor, headers in who:
        invitation = await invite(site.world, "bob")
        shown = await visit(site, "POST", f"/keys/invitation/{invitation.code}", headers)
        assert shown.status_code == 200, visitor
        found = KEY.search(shown.text)
        assert found
        assert (await site.world.ring.verifier.verify(found[0])).user_id == "bob"  # whoever else is signed in


async def test_pages_that_believe_any_session_are_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = await site.world.principal("bob")

    async def actor(*_: object) -> object:
        return everybody

    who = await visitors(site)
    monkeypatch.setattr(Visitors, "actor", actor)
    wrong = await wrong_pages(site, [each for each in who if each[0].name == "nobody"], ["GET"])
    assert ("nobody", "GET", "/keys/", OWN, SIGN_IN, DONE, set(), False) in wrong
