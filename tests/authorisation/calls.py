"""Calls of every tool on every key there can be, seen from whoever calls, and what the table says of each."""

import json
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mcp_keys_server import RequestedGrant
from tests.authorisation.callers import GRANTS, Caller, Standing, holdings, nobody_else_is_touched, with_key
from tests.authorisation.table import TOOLS, ToolRule
from tests.world import World

FAMILY = ("itself", "child", "sibling")
STRANGERS = ("another user's", "nobody's")
ENTERING = {name: grant for name, grant in GRANTS.items() if name != "a key of another alias"}
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


class Ask(Protocol):
    """Call a tool over whatever there is between; the JSON-RPC answer."""

    async def __call__(
        self, caller: Caller, tool: str, arguments: dict[str, Any], *, modern: bool
    ) -> dict[str, Any]: ...


async def wrong_calls(world: World, ask: Ask, grant: RequestedGrant, *, shift: int) -> list[object]:
    """The cells that are not answered as the table says. Every other call is of the later era."""
    wrong, number = list[object](), shift
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
                answer = await ask(caller, tool, arguments, modern=number % 2 == 0)
                changed = await holdings(world, of="ada") != before
                outcome, should = told(answer), Cell(tool, rule, caller, target).expected
                if outcome != should or (changed and outcome != DONE):
                    wrong.append((tool, target, should, outcome, changed))
                if target in STRANGERS:
                    of_strangers.add(json.dumps(answer["result"]["content"]))
            if len(of_strangers) > 1:
                wrong.append((tool, "tells a key of another user from one that is not there"))
    return wrong


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
