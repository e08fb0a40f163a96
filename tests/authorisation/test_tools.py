"""Every tool, whoever calls, on every key there can be, in both eras and over standard input and output."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import httpx2
import pytest

from mcp_keys_server import KeyRecord, RequestedGrant
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.stores.sqlite.store import SqliteStore
from tests.authorisation.callers import GRANTS, Caller, Standing, holdings, nobody_else_is_touched, with_key
from tests.authorisation.conftest import Site, request
from tests.authorisation.table import TOOLS, ToolRule
from tests.databases import needs_postgres
from tests.world import World

pytestmark = pytest.mark.anyio

FAMILY = ("itself", "child", "sibling")
STRANGERS = ("another user's", "nobody's")
ENTERING = {name: grant for name, grant in GRANTS.items() if name != "a key of another alias"}
ERAS = [pytest.param(False, id="2025-11-25"), pytest.param(True, id="2026-07-28")]

DONE, NOT_PERMITTED, NO_SUCH_KEY, NO_SUCH_TOOL = "done", "not permitted", "no such key", "no such tool"


@dataclass(frozen=True)
class Cell:
    """One call."""

    tool: str
    rule: ToolRule
    caller: Caller
    target: str | None

    @property
    def expected(self) -> str:
        if not may_call(self.caller, self.tool):
            return NO_SUCH_TOOL
        can_do_without = self.target in self.rule.without_scope_on
        allowed = self.caller.has(self.rule.scope) or can_do_without
        if not allowed and self.rule.refuses_before_looking:
            return NOT_PERMITTED
        if self.target in STRANGERS:
            return NO_SUCH_KEY
        return DONE if allowed and self.target in {None, *self.rule.on} else NOT_PERMITTED


def may_call(caller: Caller, tool: str) -> bool:
    """By the tools of the key alone."""
    match caller.grant.tools:
        case None:
            return True
        case tools:
            assert tools == {"keys:whoami", "keys:*_key", "elsewhere:*"}
            return tool == "whoami" or tool.endswith("_key")


def is_listed(caller: Caller, tool: str) -> bool:
    rule = TOOLS[tool]
    return may_call(caller, tool) and (rule.listed_without or caller.has(rule.scope))


def told(body: dict[str, Any]) -> str:
    """Which outcome an answer is."""
    if "error" in body:
        return NO_SUCH_TOOL if body["error"]["message"].startswith("There is no such tool") else str(body)
    result = body["result"]
    if not result.get("isError"):
        return DONE
    text = result["content"][0]["text"]
    if text.startswith("key_id: you have no key with this id"):
        return NO_SUCH_KEY
    is_refusal = text.startswith(("the key in use may ", "this key may do more"))
    return NOT_PERMITTED if is_refusal else str(text)


async def wrong_calls(site: Site, grant: RequestedGrant, *, shift: int) -> list[object]:
    """The cells that are not answered as the table says. Every other call is of the later era."""
    world, wrong, number = site.world, list[object](), shift
    others = await world.principal("bob")
    async with nobody_else_is_touched(world, "ada"):
        for tool, rule in TOOLS.items():
            of_strangers: set[str] = set()
            for target in (*FAMILY, *STRANGERS) if rule.of_key else (None,):
                number += 1
                caller, key_ids = await a_family(world, grant)
                key_ids |= {"another user's": others.key_id, "nobody's": "key_0123456789abcdef"}
                if target is not None and target not in key_ids:
                    continue
                before = await holdings(world, of="ada")
                arguments = dict(rule.arguments) | ({} if target is None else {"key_id": key_ids[target]})
                answer = await call(site, caller, tool, arguments, modern=number % 2 == 0)
                changed = await holdings(world, of="ada") != before
                outcome, should = told(answer.json()), Cell(tool, rule, caller, target).expected
                if outcome != should or (changed and outcome != DONE):
                    wrong.append((tool, target, should, outcome, changed))
                if target in STRANGERS:
                    of_strangers.add(json.dumps(answer.json()["result"]["content"]))
            if len(of_strangers) > 1:
                wrong.append((tool, "tells a key of another user from one that is not there"))
    return wrong


@pytest.mark.parametrize("shift", [0, 1], ids=["one after the other", "the other after the one"])
async def test_a_full_key_does_what_the_table_says_in_either_era(site: Site, shift: int) -> None:
    assert await wrong_calls(site, GRANTS["a full key"], shift=shift) == []


@pytest.mark.parametrize("name", [name for name in ENTERING if name != "a full key"])
async def test_every_key_does_what_the_table_says(site: Site, name: str) -> None:
    assert await wrong_calls(site, ENTERING[name], shift=len(name)) == []


@needs_postgres
@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_no_statement_of_another_store_reaches_other_users_keys(site_on_any_store: Site) -> None:
    assert await wrong_calls(site_on_any_store, GRANTS["a full key"], shift=0) == []


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
    wrong = await wrong_calls(site, GRANTS["a full key"], shift=0)
    assert ("get_key", "another user's", NO_SUCH_KEY, DONE, False) in wrong


async def test_a_scope_that_nobody_asks_for_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grant, "require", lambda *_: None)
    wrong = await wrong_calls(site, GRANTS["a key that reads"], shift=0)
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


async def a_family(world: World, grant: RequestedGrant) -> tuple[Caller, dict[str, str]]:
    """A new key of Ada's with this grant, one that it made if it may, and one beside it that may no more."""
    record, key = await world.key("ada", grant)
    sibling, _ = await world.key("ada", replace(grant, expires_in_days=1))
    key_ids = {"itself": record.key_id, "sibling": sibling.key_id}
    caller = with_key("a key", Standing.GOOD, key.reveal(), "ada", grant=grant)
    if caller.has("keys:write"):
        principal = await world.ring.verifier.verify(key.reveal())
        child, _ = await world.ring.manager.create_key(principal, name="Child", requested=RequestedGrant())
        key_ids["child"] = child.key_id
    return caller, key_ids


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
