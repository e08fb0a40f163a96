"""The README's examples of servers that embed the keys, each as a program of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.clients.connections import AUTO, LEGACY, over_http, text_of
from tests.conftest import KEY
from tests.embedding.conftest import Keys
from tests.embedding.processes import free_port, running
from tests.embedding.readme_examples import example
from tests.running_server import environment

pytestmark = pytest.mark.anyio


@contextmanager
def serving(name: str, keys: Keys) -> Iterator[str]:
    port = free_port()
    folder = keys.database.folder
    program = folder / f"{name}_example.py"
    program.write_text(example(name, {"port=9000": f"port={port}"}))
    # The cost is that of the database's keys, as in any second process.
    with running([sys.executable, program.name], folder, port=port, environment=environment()):
        yield f"http://127.0.0.1:{port}"
    assert not KEY.search((folder / "log.txt").read_text())


@pytest.mark.parametrize("name", ["mcp_sdk", "fastmcp"])
async def test_an_mcp_server_is_opened_by_its_users_keys(name: str, keys: Keys) -> None:
    record, key = await keys.key()
    _, bobs = await keys.key("bob")
    _, no_scope = await keys.key(scopes=("orders:write",))
    _, other_alias = await keys.key(alias="notes")
    with serving(name, keys) as base_url:
        mine = f"{base_url}/u/ada/orders/mcp"
        for era in (LEGACY, AUTO):
            async with over_http(mine, key, era) as client:
                result = await client.call_tool("whose_orders", {})
                assert text_of(result) == f"ada with {record.key_id}"
        async with httpx2.AsyncClient() as http:
            for refused in (bobs, no_scope, other_alias):
                assert (await http.post(mine, headers={"x-api-key": refused}, json={})).status_code == 403
            assert (await http.post(mine, json={})).status_code == 401
            await keys.ring.administration.revoke_key(record.key_id, reason=None)
            assert (await http.post(mine, headers={"x-api-key": key}, json={})).status_code == 401


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
async def test_a_web_application_is_opened_by_its_users_keys(name: str, keys: Keys) -> None:
    record, key = await keys.key()
    _, no_scope = await keys.key(scopes=())
    _, other_alias = await keys.key(alias="notes")
    with serving(name, keys) as base_url:
        async with httpx2.AsyncClient(base_url=base_url) as http:
            whoami = await http.get("/whoami", headers={"authorization": f"Bearer {key}"})
            assert whoami.json() == {"user": "ada", "key": record.key_id}
            assert (await http.get("/orders", headers={"x-api-key": key})).json() == {"orders_of": "ada"}
            assert (await http.get("/orders", headers={"x-api-key": no_scope})).status_code == 403
            assert (await http.get("/whoami", headers={"x-api-key": other_alias})).status_code == 403
            assert (await http.get("/whoami")).status_code == 401
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            await keys.ring.administration.revoke_key(record.key_id, reason=None)
            assert (await http.get("/whoami", headers={"x-api-key": key})).status_code == 401
