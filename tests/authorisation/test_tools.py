"""Every tool over HTTP, whoever calls, in both eras."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import httpx2
import pytest

from mcp_keys_server import KeyRecord
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.stores.sqlite.store import SqliteStore
from tests.authorisation.callers import GRANTS, Caller, holdings
from tests.authorisation.calls import DONE, ENTERING, NO_SUCH_KEY, NOT_PERMITTED, Ask, a_family, is_listed, wrong_calls
from tests.authorisation.conftest import Site, request
from tests.authorisation.table import TOOLS
from tests.databases import needs_postgres

pytestmark = pytest.mark.anyio

ERAS = [pytest.param(False, id="2025-11-25"), pytest.param(True, id="2026-07-28")]


@pytest.mark.parametrize("shift", [0, 1], ids=["one after the other", "the other after the one"])
async def test_a_full_key_does_what_the_table_says_in_either_era(site: Site, shift: int) -> None:
    assert await wrong_calls(site.world, asker(site), GRANTS["a full key"], shift=shift) == []


@pytest.mark.parametrize("name", [name for name in ENTERING if name != "a full key"])
async def test_every_key_does_what_the_table_says(site: Site, name: str) -> None:
    assert await wrong_calls(site.world, asker(site), ENTERING[name], shift=len(name)) == []


@needs_postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_no_statement_of_another_store_reaches_other_users_keys(site_on_any_store: Site) -> None:
    assert await wrong_calls(site_on_any_store.world, asker(site_on_any_store), GRANTS["a full key"], shift=0) == []


@pytest.mark.parametrize("name", ENTERING)
async def test_what_is_listed_is_what_the_table_says(site: Site, name: str) -> None:
    caller, _ = await a_family(site.world, ENTERING[name])
    for modern in (False, True):
        listing = request("tools/list", modern=modern)
        more = {"mcp-method": "tools/list"} if modern else {}
        listed = await site.send(caller, "POST", "/u/ada/keys/mcp", listing, modern=modern, headers=more)
        names = {tool["name"] for tool in listed.json()["result"]["tools"]}
        assert names == {tool for tool in TOOLS if is_listed(caller, tool)}


async def test_a_tool_that_is_kept_from_a_key_is_like_one_that_is_not_there(site: Site) -> None:
    caller, _ = await a_family(site.world, GRANTS["a key of few tools"])
    for modern in (False, True):
        kept = await call(site, caller, "list_keys", {}, modern=modern)
        assert kept.content == (await call(site, caller, "no_such_tool", {}, modern=modern)).content


async def find_anybodys(self: SqliteStore, _: str, key_id: str) -> KeyRecord | None:
    owner = await self.find_owner(key_id)
    return None if owner is None else await FIND_KEY(self, owner, key_id)


FIND_KEY = SqliteStore.find_key


async def test_a_store_that_finds_other_users_keys_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteStore, "find_key", find_anybodys)
    wrong = await wrong_calls(site.world, asker(site), GRANTS["a full key"], shift=0)
    assert ("get_key", "another user's", NO_SUCH_KEY, DONE, False) in wrong


async def test_a_scope_that_nobody_asks_for_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grant, "require", lambda *_: None)
    wrong = await wrong_calls(site.world, asker(site), GRANTS["a key that reads"], shift=0)
    assert ("revoke_key", "sibling", NOT_PERMITTED, DONE, True) in wrong


IDENTITIES: dict[str, Any] = {
    "user_id": "bob",
    "user": "bob",
    "owner": "bob",
    "principal": {"user_id": "bob", "scopes": ["keys:read", "keys:write"]},
    "scopes": ["keys:read", "keys:write"],
    "client_id": "bob",
    "sub": "bob",
    "io.modelcontextprotocol/user": "bob",
}
NAMING_HEADERS = {"x-user-id": "bob", "x-forwarded-user": "bob", "remote-user": "bob", "x-key-id": "bob"}


@pytest.mark.parametrize("modern", ERAS)
async def test_who_a_caller_says_to_be_changes_nothing(site: Site, *, modern: bool) -> None:
    caller, key_ids = await a_family(site.world, GRANTS["a key that reads"])
    await site.world.key("bob")
    for tool, rule in TOOLS.items():
        arguments = dict(rule.arguments) | ({"key_id": key_ids["sibling"]} if rule.of_key else {})
        plain = await call(site, caller, tool, arguments, modern=modern)
        claimed = await call(site, caller, tool, arguments, modern=modern, meta=IDENTITIES, headers=NAMING_HEADERS)
        assert but_for_use(claimed.json()) == but_for_use(plain.json())
        assert "bob" not in claimed.text


@pytest.mark.parametrize("modern", ERAS)
async def test_who_a_caller_says_to_be_is_no_argument_of_any_tool(site: Site, *, modern: bool) -> None:
    caller, key_ids = await a_family(site.world, GRANTS["a full key"])
    before = await holdings(site.world)
    for tool, name in product(TOOLS, ("user_id", "user", "owner", "principal", "on_behalf_of", "_meta")):
        arguments = dict(TOOLS[tool].arguments) | ({"key_id": key_ids["sibling"]} if TOOLS[tool].of_key else {})
        result = (await call(site, caller, tool, arguments | {name: "bob"}, modern=modern)).json()["result"]
        assert result["isError"], (tool, name)
        assert "unknown argument: this tool takes " in result["content"][0]["text"]
    assert await holdings(site.world) == before


def but_for_use(body: dict[str, Any]) -> Any:  # noqa: ANN401 - a part of JSON
    """What was answered, but for how often and when keys were used, which is written down at any time."""
    result = body["result"]
    return _without_use(result.get("structuredContent", result))


def _without_use(part: Any) -> Any:  # noqa: ANN401 - a part of JSON
    if isinstance(part, list):
        return [_without_use(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {name: _without_use(each) for name, each in part.items() if not name.startswith(("last_used", "use_count"))}


def asker(site: Site) -> Ask:
    async def ask(caller: Caller, tool: str, arguments: dict[str, Any], *, modern: bool) -> dict[str, Any]:
        answered: dict[str, Any] = (await call(site, caller, tool, arguments, modern=modern)).json()
        return answered

    return ask


async def call(
    site: Site,
    caller: Caller,
    tool: str,
    arguments: dict[str, Any],
    *,
    modern: bool = False,
    meta: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    message = request("tools/call", modern=modern, name=tool, arguments=arguments, _meta=meta or {})
    naming = {"mcp-method": "tools/call", "mcp-name": tool} if modern else {}
    answer = await site.send(
        caller, "POST", "/u/ada/keys/mcp", message, modern=modern, headers={**naming, **(headers or {})}
    )
    assert answer.status_code in {200, 400}, answer.text
    return answer
