from datetime import timedelta

import httpx2
import pytest

from mcp_keys_server import ApiKey, NotPermittedError, RequestedGrant
from mcp_keys_server.core.records import Person
from mcp_keys_server.settings import Settings
from tests.imported_keys import busy_lane
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio

MAY_ASK = RequestedGrant(scopes=frozenset({"keys:introspect"}))
ORDERS = RequestedGrant(scopes=frozenset({"orders:read", "orders:write"}), aliases=frozenset({"orders"}))


async def ask(http: httpx2.AsyncClient, asker: ApiKey, token: str) -> httpx2.Response:
    return await http.post("/introspect", headers={"authorization": f"Bearer {asker.reveal()}"}, data={"token": token})


async def test_a_good_key_is_told_in_the_words_of_rfc_7662(world: World, http: httpx2.AsyncClient) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    made_at = int(world.clock.now.timestamp())
    record, key = await world.key(
        requested=RequestedGrant(ORDERS.scopes, ORDERS.aliases, 1, frozenset({"orders:b", "*:a"}))
    )
    world.clock.advance(hours=1)
    answer = await ask(http, asker, key.reveal())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "active": True,
        "iss": "http://127.0.0.1:8000",
        "sub": "ada",
        "client_id": record.key_id,
        "scope": "orders:read orders:write",
        "token_type": "Bearer",
        "iat": made_at,
        "exp": made_at + int(timedelta(days=1).total_seconds()),
        "aud": ["orders"],
        "tools": ["*:a", "orders:b"],
    }


async def test_what_a_key_does_not_have_is_left_out(world: World, http: httpx2.AsyncClient) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    _, key = await world.key()
    assert {"exp", "aud", "tools"} & (await ask(http, asker, key.reveal())).json().keys() == set()


async def test_of_a_key_that_is_not_good_nothing_is_said(world: World, http: httpx2.AsyncClient) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    revoked, revoked_key = await world.key()
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    _, expired_key = await world.key(requested=RequestedGrant(expires_in_days=1))
    world.clock.advance(days=2)
    for token in (revoked_key.reveal(), expired_key.reveal(), "forged", "", "mhu_" + "A" * 51, "\u00e9" * 9):
        answer = await ask(http, asker, token)
        assert (answer.status_code, answer.json()) == (200, {"active": False})
        assert answer.headers["cache-control"] == "no-store"


async def test_who_asks_for_one_alias_hears_of_keys_that_open_it(world: World, http: httpx2.AsyncClient) -> None:
    _, asker = await world.key("bob", RequestedGrant(MAY_ASK.scopes, frozenset({"orders", "notes"})))
    _, orders = await world.key(requested=ORDERS)
    _, everything = await world.key()
    _, tickets = await world.key(requested=RequestedGrant(aliases=frozenset({"tickets"})))
    active = [(await ask(http, asker, key.reveal())).json()["active"] for key in (orders, everything, tickets)]
    assert active == [True, True, False]


async def test_only_a_key_with_the_scope_may_ask(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    answer = await ask(http, key, key.reveal())
    assert (answer.status_code, "keys:introspect" in answer.text) == (403, True)
    assert (await http.post("/introspect", data={"token": key.reveal()})).status_code == 401


async def test_nobody_but_the_operator_gives_the_scope(world: World) -> None:
    everything = await world.principal()
    for actor in (everything, Person("ada")):
        with pytest.raises(NotPermittedError):
            await world.ring.manager.create_key(actor, name="Spy", requested=MAY_ASK)
    given = await world.principal(requested=RequestedGrant(scopes=frozenset({"keys:write", "keys:introspect"})))
    child, _ = await world.ring.manager.create_key(given, name="Child", requested=RequestedGrant())
    assert child.grant.scopes == frozenset()
    named, _ = await world.ring.manager.create_key(given, name="Named", requested=MAY_ASK)
    assert named.grant.scopes == {"keys:introspect"}


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 400),
        (b"token=a&token=b", "application/x-www-form-urlencoded", 400),
        (b"token=\xff", "application/x-www-form-urlencoded", 400),
        (b"token=" + b"a" * 20_000, "application/x-www-form-urlencoded", 413),
        (b'{"token": "a"}', "application/json", 415),
    ],
)
async def test_what_is_no_such_form_is_named(
    world: World, http: httpx2.AsyncClient, content: bytes, content_type: str, status: int
) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    headers = {"x-api-key": asker.reveal(), "content-type": content_type}
    answer = await http.post("/introspect", headers=headers, content=content)
    assert (answer.status_code, answer.json()["error"]) == (status, "invalid_request")
    assert "token=API_KEY" in answer.json()["error_description"]


async def test_a_key_in_the_url_is_not_read(world: World, http: httpx2.AsyncClient) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    _, key = await world.key()
    headers = {"x-api-key": asker.reveal()}
    assert (await http.post(f"/introspect?token={key.reveal()}", headers=headers, data={"a": ""})).status_code == 400
    assert (await http.get(f"/introspect?token={key.reveal()}", headers=headers)).status_code == 405


async def test_the_calls_of_the_key_asked_about_are_counted(world: World) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    _, key = await world.key()
    _, other = await world.key()
    async with started(world, Settings(calls_per_minute=1)) as app, client_of(app) as http:
        statuses = [(await ask(http, asker, it.reveal())).status_code for it in (key, key, other)]
    assert statuses == [200, 429, 200]


@pytest.mark.parametrize("statement", ["ALTER TABLE secrets RENAME TO gone", "DROP VIEW key_records"])
async def test_a_store_that_does_not_answer_is_503_and_not_inactive(
    world: World, http: httpx2.AsyncClient, statement: str
) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    _, key = await world.key()
    world.sql(statement)
    answer = await ask(http, asker, key.reveal())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_an_imported_key_that_waits_for_its_first_check_is_503_and_not_inactive(
    world: World, http: httpx2.AsyncClient
) -> None:
    _, asker = await world.key("bob", MAY_ASK)
    await ask(http, asker, "forged")  # the check of the asking key itself is done
    async with busy_lane(world) as key:
        form = {"token": key}
        answer = await http.post("/introspect", headers={"authorization": f"Bearer {asker.reveal()}"}, data=form)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
