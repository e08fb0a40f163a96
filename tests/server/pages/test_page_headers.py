"""What browsers are told with every page and every error, and that there is never a trace of the inside."""

import re

import httpx2
import pytest
from starlette.types import ASGIApp

from mcp_keys_server.settings import Settings
from tests.server.pages.conftest import (
    HTTPS,
    OWN_FORM,
    Visitor,
    app_with,
    client,
    invite,
    text_of,
    unclaimed,
)
from tests.world import World

pytestmark = pytest.mark.anyio

POLICY = {
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


def assert_guarded(answer: httpx2.Response, *, html: bool = True) -> None:
    headers = answer.headers
    assert set(headers["content-security-policy"].split("; ")) == POLICY
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    if html and answer.status_code not in (303, 304):
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


async def test_every_page_is_guarded(world: World, ada: Visitor, visitor: Visitor) -> None:
    key_id, code = await unclaimed(world), (await invite(world)).code
    for path in (
        "/keys/",
        "/keys/?all=1",
        f"/keys/{key_id}/claim",
        f"/keys/{key_id}/rename",
        f"/keys/{key_id}/revoke",
        f"/keys/invitation/{code}",
        "/keys/sign-in",
    ):
        for who in (ada, visitor):
            assert_guarded(await who.get(path))
    for path in (f"/keys/{key_id}/claim", f"/keys/invitation/{code}"):
        for _ in range(2):
            assert_guarded(await ada.post(path))
    assert_guarded(await ada.post(f"/keys/{key_id}/revoke"))
    assert_guarded(await visitor.sign_in("wrong"))


@pytest.mark.parametrize(
    ("path", "kind"), [("copy.js", "text/javascript"), ("pages.css", "text/css"), ("icon.svg", "image/svg+xml")]
)
async def test_what_pages_load_is_guarded_and_needs_no_sign_in(visitor: Visitor, path: str, kind: str) -> None:
    answer = await visitor.get(f"/keys/static/{path}")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    assert_guarded(answer, html=False)


OUTSIDE = [
    "..%2fapp.py",
    "%2e%2e/app.py",
    "..\\app.py",
    "%00",
    "a" * 5_000,
    "/etc/passwd",
    "",
    ".",
    "templates/base.html",
]


async def test_nothing_else_is_served_as_a_file(visitor: Visitor) -> None:
    for path in OUTSIDE:
        answer = await visitor.get(f"/keys/static/{path}")
        assert answer.status_code in (404, 405), path
        assert_guarded(answer)


async def test_every_error_is_a_guarded_page(ada: Visitor, visitor: Visitor) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    headed = OWN_FORM | form
    http = ada.http
    for status, answer in (
        (404, await http.get("/keys/nothing")),
        (404, await http.get("/keys/key_0123456789abcdef/claim")),
        (404, await http.get("/keys/invitation/x")),
        (404, await http.get("/keys/%ff%00/claim")),
        (405, await http.put("/keys/", headers=headed)),
        (405, await http.post("/keys/static/copy.js", headers=headed)),
        (413, await http.post("/keys/", headers=headed, content=b"x" * 20_000)),
        (415, await http.post("/keys/", headers=OWN_FORM, content=b"x")),
        (400, await http.post("/keys/", headers=headed, content=b"\xff")),
        (400, await http.post("/keys/", headers=headed)),
        (403, await visitor.sign_in("x")),
    ):
        assert answer.status_code == status
        assert_guarded(answer)


async def test_what_reached_us_in_anothers_name_is_a_page_like_any_other(ada: Visitor) -> None:
    for status, answer in (
        (403, await ada.http.post("/keys/", headers={"sec-fetch-site": "cross-site"})),
        (421, await ada.http.get("/keys/", headers={"host": "evil.example"})),
        (421, await ada.http.get("/keys/static/copy.js", headers={"host": "evil.example"})),
    ):
        assert answer.status_code == status
        assert_guarded(answer)
        assert "evil" not in answer.text


async def test_a_method_that_is_not_there_says_which_are(ada: Visitor) -> None:
    answer = await ada.http.put("/keys/", headers=OWN_FORM)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_database_that_does_not_answer_is_a_page_to_try_again(world: World, ada: Visitor) -> None:
    key_id, code = await unclaimed(world), (await invite(world)).code
    _, key = await world.key()
    world.database.lose("sessions", "claims", "secrets")
    answers = [await ada.sign_in(key)]
    for path in ("/keys/", f"/keys/{key_id}/claim", f"/keys/{key_id}/revoke", f"/keys/invitation/{code}"):
        answers += [await ada.get(path), await ada.post(path)]
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "The key database does not answer" in text_of(answer)
        assert not re.search("sqlite|postgres", answer.text.lower())
        assert "set-cookie" not in answer.headers
        assert_guarded(answer)
    assert (await ada.get("/keys/static/pages.css")).status_code == 200


async def test_a_database_that_is_gone_lets_nobody_in(world: World, ada: Visitor) -> None:
    world.database.spoil()
    assert (await ada.get("/keys/")).status_code == 503


async def test_a_crash_is_a_guarded_page_without_a_word_of_it(
    world: World, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("in the engine room")

    monkeypatch.setattr(type(world.ring.manager), "list_keys", crash)
    answer = await ada.get("/keys/")
    assert (answer.status_code, "engine room" in answer.text) == (500, False)
    assert_guarded(answer)


async def test_https_is_kept_to_only_where_there_is_https(world: World, app: ASGIApp) -> None:
    for application, url in ((app, "http://localhost:8000"), (app_with(world, Settings(public_url=HTTPS)), HTTPS)):
        async with client(application, base_url=url) as http:
            for path in ("/keys/sign-in", "/keys/nothing", "/keys/static/copy.js"):
                told = (await http.get(path)).headers.get("strict-transport-security")
                assert told == ("max-age=31536000" if url == HTTPS else None)
