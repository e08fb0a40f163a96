from urllib.parse import unquote

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server import RequestedGrant
from tests.server.calls import Answer, call, post
from tests.server.conftest import BASE_URL
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_a_key_opens_its_owners_endpoint_in_both_eras(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    for modern in (False, True):
        result = await call(http, key, "whoami", modern=modern)
        assert result.structured["user_id"] == "ada"


WRONG_PATHS = [
    "/u/bob/keys/mcp",  # another's
    "/u/nobody/keys/mcp",
    "/u/ada/notes/mcp",  # an alias that nobody has
    "/u/ada/keys/mcp/",
    "/u/ada/keys",
    "/u/ada/keys/mcp/mcp",
    "/u/ada//mcp",
    "/u//keys/mcp",
    "/u/ADA/keys/mcp",
    "/u/ada/KEYS/mcp",
    "/u/%61da/keys/mcp",
    "/u/ada/key%73/mcp",
    "/u/ada%2Fkeys/mcp",
    "/u/ada/keys%00/mcp",
    "/u/ada/../ada/keys/mcp",
    "/u/ada/./keys/mcp",
    "/u/",
]


@pytest.mark.parametrize("path", WRONG_PATHS)
async def test_a_good_key_on_any_other_path_is_one_and_the_same_403(world: World, app: ASGIApp, path: str) -> None:
    _, key = await world.key()
    await world.key("bob")
    answer = await sent_as_is(app, path, key.reveal())
    reference = await sent_as_is(app, "/u/bob/keys/mcp", key.reveal())
    assert (answer.status_code, answer.content) == (403, reference.content)
    assert answer.headers.raw == reference.headers.raw
    assert "www-authenticate" not in answer.headers
    assert "does not open this endpoint" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [*WRONG_PATHS, "/u/ada/keys/mcp"])
async def test_without_a_good_key_no_path_tells_whether_it_exists(world: World, app: ASGIApp, path: str) -> None:
    await world.key()
    answer = await sent_as_is(app, path, "forged")
    reference = await sent_as_is(app, "/u/x/y/z", "forged")
    assert (answer.status_code, answer.content) == (401, reference.content)


async def test_a_key_opens_only_the_aliases_that_it_may(world: World, http: httpx2.AsyncClient) -> None:
    _, narrow = await world.key(requested=RequestedGrant(aliases=frozenset({"notes"})))
    _, right = await world.key(requested=RequestedGrant(aliases=frozenset({"notes", "keys"})))
    assert (await post(http, narrow)).status_code == 403
    assert (await post(http, right)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD"])
async def test_only_post_is_answered(world: World, http: httpx2.AsyncClient, method: str) -> None:
    _, key = await world.key()
    answer = await http.request(method, "/u/ada/keys/mcp", headers={"X-API-Key": key.reveal()})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await http.request(method, "/u/ada/keys/mcp")).status_code == 401


async def test_a_header_of_mcp_in_other_letters_is_a_bad_request(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    good = (await post(http, key, modern=True)).request
    headers = [(name, value) for name, value in good.headers.raw if name.lower() != b"mcp-name"]
    sent = [*headers, (b"mcp-name", "=?base64?é?=".encode())]
    answer = await http.post("/u/ada/keys/mcp", headers=sent, content=good.content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_a_session_id_is_neither_given_nor_asked_for(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    answer = await post(http, key, headers={"mcp-session-id": "made up"})
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers


async def test_what_a_client_claims_in_the_body_changes_nothing(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    answer = Answer(await post(http, key, "whoami", meta={"user_id": "bob", "principal": {"user_id": "bob"}}))
    assert answer.structured["user_id"] == "ada"
    refused = await call(http, key, "whoami", {"user_id": "bob"})
    assert refused.is_error


async def sent_as_is(app: ASGIApp, path: str, presented: str) -> httpx2.Response:
    """A request whose path reaches the application to the byte as it stands here; clients tidy some of them up."""

    async def untidied(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "path": unquote(path), "raw_path": path.encode()}, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(untidied), base_url=BASE_URL) as client:
        return await client.post("/", headers={"X-API-Key": presented})
