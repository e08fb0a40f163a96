import httpx2
import pytest

from mcp_keys_server import RequestedGrant
from mcp_keys_server.settings import Settings
from tests.server.calls import call
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio

ORDERS = RequestedGrant(scopes=frozenset({"orders:read", "orders:write"}), aliases=frozenset({"orders"}))
MINE = "/u/ada/orders/mcp"
BY_HEADER = "/verify?endpoint=X-Original-URI"


async def test_a_good_key_is_named_to_the_proxy_for_its_alias(world: World, http: httpx2.AsyncClient) -> None:
    record, key = await world.key(requested=ORDERS)
    for header in ({"authorization": f"Bearer {key.reveal()}"}, {"x-api-key": key.reveal()}):
        answer = await http.get("/verify?alias=orders", headers=header)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["x-user-id"] == "ada"
        assert answer.headers["x-key-id"] == record.key_id
        assert answer.headers["x-scopes"] == "orders:read orders:write"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_every_method_is_the_same_question(world: World, http: httpx2.AsyncClient, method: str) -> None:
    _, key = await world.key()
    for path in ("/verify?alias=orders", "/verify/alias/orders/whatever"):
        assert (await http.request(method, path, headers={"x-api-key": key.reveal()})).status_code == 200
        assert (await http.request(method, path)).status_code == 401


async def test_the_preflight_of_a_web_page_is_let_in_by_nobody(http: httpx2.AsyncClient) -> None:
    headers = {"origin": "http://localhost:8000", "access-control-request-method": "POST"}
    assert (await http.options("/u/ada/keys/mcp", headers=headers)).status_code == 200
    for path in ("/verify?alias=orders", "/verify/endpoint/u/ada/keys/mcp"):
        assert (await http.options(path, headers=headers)).status_code == 401


async def test_a_key_without_scopes_is_not_named_by_an_empty_header(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=RequestedGrant(scopes=frozenset()))
    assert (await http.get("/verify?alias=orders", headers={"x-api-key": key.reveal()})).headers["x-scopes"] == "-"


async def test_bad_keys_get_what_endpoints_answer(world: World, http: httpx2.AsyncClient) -> None:
    record, key = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    for headers in ({}, {"x-api-key": "forged"}, {"x-api-key": key.reveal()}):
        asked = await http.get("/verify?alias=keys", headers=headers)
        endpoint = await http.post("/u/ada/keys/mcp", headers=headers)
        assert (asked.status_code, asked.content) == (401, endpoint.content)
        assert asked.headers["www-authenticate"] == endpoint.headers["www-authenticate"]
    twice = [("x-api-key", "a"), ("x-api-key", "b")]
    assert (await http.get("/verify?alias=keys", headers=twice)).status_code == 400


async def test_a_key_of_another_alias_is_forbidden(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=ORDERS)
    for path in ("/verify?alias=notes", "/verify/alias/notes", "/verify/alias/notes/u/ada/orders/mcp"):
        answer = await http.get(path, headers={"x-api-key": key.reveal()})
        assert answer.status_code == 403
        assert "www-authenticate" not in answer.headers
        assert "x-user-id" not in answer.headers


async def test_scopes_that_the_proxy_names_are_all_needed(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=ORDERS)
    headers = {"x-api-key": key.reveal()}
    both = "/verify?alias=orders&scope=orders:read&scope=orders:write"
    assert (await http.get(both, headers=headers)).status_code == 200
    refused = await http.get(both + "&scope=orders:delete", headers=headers)
    assert (refused.status_code, "orders:delete" in refused.text) == (403, True)


async def test_an_endpoint_is_its_owners(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=ORDERS)
    for uri, status in {
        MINE: 200,
        MINE + "?page=2": 200,
        "/u/bob/orders/mcp": 403,
        "/u/ada/notes/mcp": 403,
        "/u/ada/orders/mcp/": 403,
        "/u/ada/orders/../notes/mcp": 403,
        "/u/%61da/orders/mcp": 403,
        "//u/ada/orders/mcp": 403,
        "/u/ada/orders/mcp%3f": 403,
        "/u/ada/orders/mcp#x": 403,
        "https://example.com/u/ada/orders/mcp": 403,
        "/": 403,
        "": 403,
    }.items():
        for name in ("X-Original-URI", "X-Forwarded-Uri"):
            headers = {"x-api-key": key.reveal(), name: uri}
            assert (await http.get(f"/verify?endpoint={name}", headers=headers)).status_code == status, uri


async def test_alias_and_endpoint_have_both_to_be_right(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    headers = {"x-api-key": key.reveal(), "x-original-uri": MINE}
    assert (await http.get(BY_HEADER + "&alias=orders", headers=headers)).status_code == 200
    assert (await http.get(BY_HEADER + "&alias=notes", headers=headers)).status_code == 403


async def test_a_proxy_that_appends_the_path_asks_for_the_endpoint(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=ORDERS)
    headers = {"x-api-key": key.reveal()}
    for path, status in {
        f"/verify/endpoint{MINE}": 200,
        f"/verify/endpoint{MINE}?alias=notes&alias=x&scope=none&endpoint=y": 200,  # all of it the client's
        "/verify/endpoint/u/bob/orders/mcp?alias=orders": 403,
        "/verify/endpoint?alias=orders": 403,
        "/verify/endpoint/": 403,
        f"/verify/endpoint-of/orders{MINE}?alias=notes": 200,
        f"/verify/endpoint-of/notes{MINE}": 403,
        "/verify/endpoint-of/orders/u/bob/orders/mcp": 403,
        "/verify/endpoint-of/orders/u/ada/notes/mcp": 403,
        f"/verify/endpoint-of/orders/orders{MINE}": 403,
        "/verify/endpoint-of/orders": 403,
        f"/verify/endpoint/orders{MINE}": 403,
        "/verify/alias/orders/u/bob/notes/mcp?alias=notes": 200,
        "/verify/alias/orders": 200,
    }.items():
        assert (await http.get(path, headers=headers)).status_code == status, path


@pytest.mark.parametrize(
    "path",
    [
        "/verify",
        "/verify?",
        "/verify/",
        "/verify/orders",
        "/verify/alias",
        "/verify/alias/",
        "/verify/endpoint-of",
        "/verify/endpoint-of/",
        "/verify/endpoint-of/ORDERS/u/ada/orders/mcp",
        "/verify/alias/ORDERS",
        "/verify%2Falias%2Forders?alias=orders",
        "/verify?alias=",
        "/verify?alias=ORDERS",
        "/verify?alias=orders&alias=notes",
        "/verify?Alias=orders",
        "/verify?alias=orders&scopes=orders:read",
        "/verify?scope=orders:read",
        "/verify?alias=orders&scope=",
        "/verify?alias=orders&scope=ORDERS",
        "/verify?endpoint=",
        "/verify?endpoint=X-Mcp-Keys-Alias",
        "/verify?endpoint=X-Original-URI&endpoint=X-Forwarded-Uri",
    ],
)
async def test_a_question_that_names_nothing_is_never_answered_with_yes(
    world: World, http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    _, key = await world.key()
    caplog.clear()
    # As a client sends who would like to name for itself what it may open.
    forged = {"x-mcp-keys-alias": "orders", "x-original-uri": MINE, "x-forwarded-uri": MINE, "x-alias": "orders"}
    answer = await http.get(path, headers={"x-api-key": key.reveal(), **forged})
    assert answer.status_code == 400
    assert "/verify?alias=ALIAS" in answer.json()["error"]["message"]
    assert [record.levelname for record in caplog.records if "cannot answer a proxy" in record.message] == ["WARNING"]


async def test_only_the_header_that_the_configuration_names_is_believed(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=ORDERS)
    headers = [("x-api-key", key.reveal()), ("x-original-uri", "/u/bob/orders/mcp"), ("x-forwarded-uri", MINE)]
    assert (await http.get(BY_HEADER, headers=headers)).status_code == 403
    assert (await http.get(BY_HEADER, headers=[headers[0], headers[2]])).status_code == 400
    assert (await http.get(BY_HEADER, headers=[*headers, ("x-original-uri", MINE)])).status_code == 400


async def test_calls_are_counted_together_with_those_of_endpoints(world: World) -> None:
    _, key = await world.key()
    headers = {"x-api-key": key.reveal()}
    async with started(world, Settings(calls_per_minute=2)) as app, client_of(app) as http:
        await call(http, key, "whoami")
        assert (await http.get("/verify?alias=notes", headers=headers)).status_code == 200
        answer = await http.get("/verify?alias=notes", headers=headers)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
        assert "x-user-id" not in answer.headers


async def test_failures_are_counted_as_at_endpoints(world: World) -> None:
    _, key = await world.key()
    async with started(world, Settings(failures_per_minute=1)) as app, client_of(app) as http:
        assert (await http.get("/verify?alias=notes", headers={"x-api-key": "x"})).status_code == 401
        assert (await http.get("/verify?alias=notes", headers={"x-api-key": "x"})).status_code == 429
        assert (await http.get("/verify?alias=notes", headers={"x-api-key": key.reveal()})).status_code == 200


async def test_a_store_that_does_not_answer_is_503(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    world.sql("ALTER TABLE secrets RENAME TO gone")
    assert (await http.get("/verify?alias=notes", headers={"x-api-key": key.reveal()})).status_code == 503
