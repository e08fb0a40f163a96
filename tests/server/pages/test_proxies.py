"""What a reverse proxy says is believed from the proxies that the operator has named, and from nobody else."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.server.trusted_proxies import TrustedProxies, user_named_by_proxy
from mcp_keys_server.settings import Settings, SettingsError
from tests.server.pages.conftest import (
    Visitor,
    app_with,
    client,
    in_the_database,
    invite,
    shown_key,
    text_of,
    unclaimed,
)
from tests.world import World

pytestmark = pytest.mark.anyio

PROXY, STRANGER = "10.1.2.3", "192.0.2.9"
BEHIND_PROXY = Settings(trusted_proxy_addresses=("10.0.0.0/8", "2001:db8::1"), trusted_user_header="X-User")

From = Callable[[str], Visitor]


@pytest.fixture
async def visitor_from(world: World) -> AsyncIterator[From]:
    """A visitor whose connection comes from this address."""
    app = app_with(world, BEHIND_PROXY)
    async with AsyncExitStack() as stack:

        def visitor(address: str) -> Visitor:
            http = client(app, address=address)
            stack.push_async_callback(http.aclose)
            return Visitor(http)

        yield visitor


def named(visitor: Visitor, *names: str) -> Visitor:
    visitor.http.headers = httpx2.Headers([*visitor.http.headers.multi_items(), *[("x-user", name) for name in names]])
    return visitor


@pytest.mark.parametrize("name", ["ada", "ada@example.com", "ADA@Example.Com", " ada "])
async def test_a_person_whom_the_proxy_names_manages_their_keys(world: World, visitor_from: From, name: str) -> None:
    ada = named(visitor_from(PROXY), name)
    keys = await ada.get("/keys/")
    assert (keys.status_code, "Keys of ada" in text_of(keys)) == (200, True)
    assert "Sign out" not in text_of(keys)
    key_id = await ada.create("Mine", scopes=["keys:read", "keys:write"])
    assert "yourself, on these pages" in text_of(await ada.get(f"/keys/{key_id}/claim"))
    key = shown_key(await ada.post(f"/keys/{key_id}/claim"))
    assert key
    assert (await world.ring.verifier.verify(key)).user_id == "ada"
    assert (await ada.post(f"/keys/{key_id}/rename", {"name": "Yours"})).status_code == 303
    assert (await ada.post(f"/keys/{key_id}/revoke")).status_code == 303
    assert "Yours revoked" in text_of(await ada.get("/keys/?all=1"))
    assert (await ada.get("/keys/sign-in")).headers["location"] == "/keys/"


async def test_a_person_claims_what_one_of_their_keys_asked_for(world: World, visitor_from: From) -> None:
    key_id, bobs = await unclaimed(world), await unclaimed(world, user="bob")
    ada = named(visitor_from("2001:db8::1"), "ada")
    assert (await ada.post(f"/keys/{bobs}/claim")).status_code == 404
    assert shown_key(await ada.post(f"/keys/{key_id}/claim"))


async def test_a_person_sends_forms_from_our_pages_only(world: World, visitor_from: From) -> None:
    path = f"/keys/{await unclaimed(world)}/claim"
    ada = named(visitor_from(PROXY), "ada")
    answer = await ada.post(path, headers={"sec-fetch-site": "cross-site"})
    assert (answer.status_code, shown_key(answer)) == (403, None)


async def test_a_name_from_anybody_else_says_nothing(visitor_from: From) -> None:
    for address in (STRANGER, "127.0.0.1", "11.0.0.1", "::ffff:10.1.2.3", "testclient", ""):
        visitor = named(visitor_from(address), "ada")
        visitor.http.headers["x-forwarded-for"] = PROXY
        assert (await visitor.get("/keys/")).headers["location"] == "/keys/sign-in?next=/keys/", address


async def test_a_client_without_an_address_is_no_proxy() -> None:
    seen: list[Scope] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        seen.append(scope)

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "headers": [(b"x-user", b"ada")], "client": None}
    await TrustedProxies(behind, ["10.0.0.0/8"], "X-User")(scope, receive, send)
    await TrustedProxies(behind, [], None)(scope | {"client": (PROXY, 1)}, receive, send)
    assert [user_named_by_proxy(scope) for scope in seen] == [None, None]


async def test_without_the_setting_the_header_says_nothing(world: World) -> None:
    settings = Settings(trusted_proxy_addresses=("10.0.0.0/8",))
    async with client(app_with(world, settings), address=PROXY) as http:
        assert (await http.get("/keys/", headers={"x-user": "ada"})).status_code == 303


NOBODY = [
    ["carol"],
    ["carol@example.com"],
    [""],
    [" "],
    ["Ada"],
    ["ada,bob"],
    ["ada", "bob"],
    ["ada", "ada"],
    ["", "ada"],
    ["ada\tbob"],
    ["ada' OR '1'='1"],
    ["%"],
    ["x" * 300],
    ["ada@example.com@"],
    ["../ada"],
    ["<script>"],
    ["key_0123456789abcdef"],
    ["(null)"],
]


async def test_whom_nobody_knows_is_nobody_whatever_session_they_bring(world: World, visitor_from: From) -> None:
    _, key = await world.key()
    ada, claim = visitor_from(PROXY), await unclaimed(world)
    await ada.sign_in(key)
    assert await ada.is_signed_in()
    for names in NOBODY:
        headers = [("x-user", name) for name in names]
        for method, path in (("GET", "/keys/"), ("POST", f"/keys/{claim}/claim"), ("GET", "/keys/sign-in")):
            sent = [*headers, ("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")]
            answer = await ada.http.request(method, path, headers=sent)
            assert (answer.status_code, shown_key(answer)) == (403, None), names
            assert "You have no keys here" in text_of(answer)
            assert "<script>" not in text_of(answer)
    raw = [(b"x-user", b"ad\xe4"), (b"x-user", b"\xff\xfe")]
    for header in raw:
        assert (await ada.http.get("/keys/", headers=[header])).status_code == 403
    assert await ada.is_signed_in()


async def test_a_disabled_person_is_nobody(world: World, visitor_from: From) -> None:
    in_the_database(world, "UPDATE users SET disabled_at = '2026-11-21T12:00:00.000000+00:00' WHERE user_id = 'ada'")
    assert (await named(visitor_from(PROXY), "ada").get("/keys/")).status_code == 403


async def test_the_proxys_word_goes_before_the_session(world: World, visitor_from: From) -> None:
    _, bobs = await world.key("bob")
    visitor = visitor_from(PROXY)
    await visitor.sign_in(bobs)
    assert "Keys of bob" in text_of(await visitor.get("/keys/"))
    assert "Keys of ada" in text_of(await visitor.get("/keys/", {"x-user": "ada"}))


async def test_the_name_opens_no_mcp_endpoint(visitor_from: From) -> None:
    answer = await visitor_from(PROXY).http.post("/u/ada/keys/mcp", headers={"x-user": "ada"})
    assert answer.status_code == 401


FORWARDED = [
    (PROXY, "198.51.100.1", "198.51.100.1"),
    (PROXY, "203.0.113.66, 198.51.100.1", "198.51.100.1"),
    (PROXY, "203.0.113.66, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
    (PROXY, "198.51.100.1:4711", "198.51.100.1"),
    (PROXY, "[2001:DB8::7]:4711", "2001:db8::7"),
    (PROXY, "", PROXY),
    (PROXY, "<script>alert(1)</script>", "unknown"),
    (PROXY, "198.51.100.1\x1b[31m", "unknown"),
    (PROXY, "999.1.1.1", "unknown"),
    (PROXY, "unknown", "unknown"),
    (PROXY, "x" * 5_000, "unknown"),
    (STRANGER, "198.51.100.1", STRANGER),
    (STRANGER, "<script>alert(1)</script>", STRANGER),
    ("127.0.0.1", "198.51.100.1", "127.0.0.1"),
]


async def test_the_clients_address_is_a_proxys_word_or_the_connections(world: World, visitor_from: From) -> None:
    _, key = await world.key()
    for peer, header, address in FORWARDED:
        visitor = visitor_from(peer)
        visitor.http.headers["x-forwarded-for"] = header
        await visitor.sign_in(key)
        for path in (f"/keys/{await unclaimed(world)}/claim", f"/keys/invitation/{(await invite(world)).code}"):
            assert shown_key(await visitor.post(path))
            text = text_of(await visitor.get(path))
            assert f"from {address}." in text or f"to {address}." in text, header
    keys = await world.ring.administration.list_keys("ada")
    assert {key.claim.claimed_from for key in keys if key.claim} == {address for _, _, address in FORWARDED}


async def test_failures_are_counted_by_the_address_that_the_proxy_tells(world: World, visitor_from: From) -> None:
    _, key = await world.key()
    guesser, honest, stranger = visitor_from(PROXY), visitor_from(PROXY), visitor_from(STRANGER)
    guesser.http.headers["x-forwarded-for"] = "198.51.100.1"
    honest.http.headers["x-forwarded-for"] = "198.51.100.2"
    for number in range(10):
        # What a client puts in front of what the proxy appends buys nothing, and nothing from no proxy.
        guesser.http.headers["x-forwarded-for"] = f"203.0.113.{number}, 198.51.100.1"
        stranger.http.headers["x-forwarded-for"] = f"203.0.113.{number}"
        for visitor in (guesser, stranger):
            assert (await visitor.sign_in("wrong")).status_code == 403
    for visitor, status in ((guesser, 429), (stranger, 429), (honest, 403)):
        assert (await visitor.sign_in("wrong")).status_code == status
    # All of IPv4, as a proxy on a dual-stack socket writes it, is not one network.
    for address, status in (("::ffff:198.51.100.1", 429), ("::ffff:198.51.100.9", 403)):
        guesser.http.headers["x-forwarded-for"] = address
        assert (await guesser.sign_in("wrong")).status_code == status
    assert (await guesser.sign_in(key)).status_code == 303


async def test_the_zone_of_an_address_is_no_place_for_text(world: World, visitor_from: From) -> None:
    visitor = visitor_from(PROXY)
    visitor.http.headers["x-forwarded-for"] = "fe80::1%<b>\x1b[31m"
    path = f"/keys/invitation/{(await invite(world)).code}"
    await visitor.post(path)
    (record,) = await world.ring.administration.list_keys("ada")
    assert record.claim is not None
    assert record.claim.claimed_from in ("fe80::1", "unknown")


@pytest.mark.parametrize(
    "flags",
    [
        {"trusted_user_header": "X-User"},
        {"trusted_user_header": "X User", "trusted_proxy_addresses": "10.0.0.1"},
        {"trusted_user_header": "X-User:", "trusted_proxy_addresses": "10.0.0.1"},
        {"trusted_user_header": "Cookie", "trusted_proxy_addresses": "10.0.0.1"},
        {"trusted_user_header": "host", "trusted_proxy_addresses": "10.0.0.1"},
        {"trusted_user_header": "", "trusted_proxy_addresses": "10.0.0.1"},
        {"trusted_proxy_addresses": "*"},
        {"trusted_proxy_addresses": "10.0.0.1/8"},
        {"trusted_proxy_addresses": "proxy.example.com"},
    ],
    ids=str,
)
def test_settings_that_would_believe_anybody_are_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="trusted_"):
        load_settings(**flags)


async def test_whom_a_proxy_has_signed_in_is_shown_so_many_pages_a_minute(world: World) -> None:
    app = app_with(world, BEHIND_PROXY.model_copy(update={"calls_per_minute": 2}))
    async with client(app, address="10.0.0.1") as http, client(app, address="10.0.0.1") as other_http:
        ada, bob = named(Visitor(http), "ada"), named(Visitor(other_http), "bob")
        assert [(await ada.get("/keys/")).status_code for _ in range(3)] == [200, 200, 429]
        assert (await bob.get("/keys/")).status_code == 200
