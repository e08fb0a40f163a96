"""The README's configurations of reverse proxies, in the real ones, before the real server."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conftest import KEY
from tests.embedding.conftest import Keys
from tests.embedding.proxies import PROXIES, proxy
from tests.embedding.upstream import upstream
from tests.running_server import RunningServer, running_server

pytestmark = pytest.mark.anyio

MINE = "/u/ada/orders/mcp"
BY_EACH = pytest.mark.parametrize("name", PROXIES)


@contextmanager
def guarded(name: str, keys: Keys, **settings: str) -> Iterator[tuple[RunningServer, str]]:
    """A server behind a proxy that asks ours, with the address of the proxy."""
    with running_server(keys.database, **settings) as server, upstream() as orders:
        port = urlsplit(server.base_url).port
        assert port is not None
        with proxy(name, keys.database.folder.parent / name, keys=port, orders=orders) as base_url:
            yield server, base_url


@BY_EACH
async def test_a_request_goes_through_with_who_it_is_and_without_its_key(name: str, keys: Keys) -> None:
    record, key = await keys.key(scopes=("orders:read", "orders:write"))
    _, no_scopes = await keys.key(scopes=())
    forged = {"X-User-Id": "bob", "X-Key-Id": "key_bob", "X-Scopes": "orders:all"}
    with guarded(name, keys) as (_, base_url):
        async with httpx2.AsyncClient(base_url=base_url) as http:
            for method in ("GET", "POST", "PUT", "DELETE"):
                for header in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                    answer = await http.request(method, MINE + "?page=2", headers=header | forged, content=b"{}")
                    assert answer.status_code == 200, answer.text
                    seen = answer.json()
                    assert (seen["method"], seen["path"]) == (method, MINE + "?page=2")
                    assert identity(seen) == {
                        "x-user-id": ["ada"],
                        "x-key-id": [record.key_id],
                        "x-scopes": ["orders:read orders:write"],
                    }
                    assert not KEY.search(answer.text)
            answer = await http.post(MINE, headers={"x-api-key": no_scopes} | forged, content=b"{}")
            assert identity(answer.json())["x-scopes"] == ["-"]


def identity(seen: dict[str, list[list[str]]]) -> dict[str, list[str]]:
    names = ("x-user-id", "x-key-id", "x-scopes")
    return {name: [value for other, value in seen["headers"] if other == name] for name in names}


@BY_EACH
async def test_who_may_not_is_refused_whatever_they_send_along(name: str, keys: Keys) -> None:
    record, key = await keys.key()
    _, notes = await keys.key(alias="notes")
    _, bobs = await keys.key("bob")
    forged = [
        {},
        {"X-Original-URI": MINE, "X-Forwarded-Uri": MINE, "X-Mcp-Keys-Alias": "notes", "X-Original-Method": "GET"},
        {"X-Original-URI": "/u/bob/orders/mcp", "X-Forwarded-Uri": "/u/bob/orders/mcp"},
        {"X-Original-URI": "/u/ada/notes/mcp", "X-Forwarded-Uri": "/u/ada/notes/mcp"},
    ]
    with guarded(name, keys) as (_, base_url):
        async with httpx2.AsyncClient(base_url=base_url) as http:
            for headers in forged:
                for presented in (bobs, notes):
                    for query in ("", "?alias=notes&endpoint=X-Original-URI&scope=x"):
                        answer = await http.post(MINE + query, headers={"x-api-key": presented} | headers)
                        assert answer.status_code == 403, (name, headers, query)
                assert (await http.post("/u/bob/orders/mcp", headers={"x-api-key": key} | headers)).status_code == 403
                assert (await http.post(MINE, headers={"x-api-key": key} | headers)).status_code == 200
                for bad in ({"x-api-key": "forged"}, {}):
                    refused = await http.post(MINE, headers=bad | headers)
                    assert refused.status_code == 401
                    assert refused.headers["www-authenticate"].startswith('Bearer realm="mcp-keys"')
            preflight = {"origin": "http://localhost", "access-control-request-method": "POST"}
            assert (await http.options(MINE, headers=preflight)).status_code == 401
            await keys.ring.administration.revoke_key(record.key_id, reason=None)
            assert (await http.post(MINE, headers={"x-api-key": key})).status_code == 401


@BY_EACH
async def test_what_is_for_later_is_said_to_be(name: str, keys: Keys) -> None:
    _, key = await keys.key()
    with guarded(name, keys, MCP_KEYS_CALLS_PER_MINUTE="1") as (server, base_url):
        async with httpx2.AsyncClient(base_url=base_url) as http:
            assert (await http.post(MINE, headers={"x-api-key": key})).status_code == 200
            limited = await http.post(MINE, headers={"x-api-key": key})
            assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
            with closing(sqlite3.connect(keys.database.path)) as connection:
                connection.execute("ALTER TABLE secrets RENAME TO gone")
            assert (await http.post(MINE, headers={"x-api-key": key})).status_code == 503
            server.stop()
            assert (await http.post(MINE, headers={"x-api-key": key})).status_code >= 500
