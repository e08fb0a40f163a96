"""What of the tools that a server lists is shown to the key that asks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.remotes.relay_trouble import Trouble, TroubleError
from mcp_keys_server.server.gateway.tool_rules import Definition, ToolRules


async def shown_tools(rules: ToolRules, principal: Principal, listed: Sequence[object]) -> Sequence[Definition]:
    """
    Raises:
        TroubleError: Nobody can say whether one has changed.
    """
    try:
        return await rules.shown(principal, [tool for tool in listed if isinstance(tool, Mapping)])
    except StoreUnavailableError as error:
        raise TroubleError(Trouble.STORE, f"nobody can say which of its tools have changed: {error}") from None


async def less_hidden_tools(rules: ToolRules, principal: Principal, body: bytes) -> bytes:
    """The message, or the batch of them, written anew, so that no two parsers read it in two ways.

    Whatever its id, and whatever it answers: a result with tools is a listing.

    Raises:
        TroubleError: It is no JSON, or nobody can say what to show.
    """
    try:
        parsed = json.loads(body.decode("utf-8"))
        messages = parsed if isinstance(parsed, list) else [parsed]
        shown = [await _less_hidden(rules, principal, message) for message in messages]
        written = json.dumps(shown if isinstance(parsed, list) else shown[0], allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise TroubleError(Trouble.GARBAGE, "it answered with something that is not JSON") from None
    return written.encode("ascii")


async def _less_hidden(rules: ToolRules, principal: Principal, message: object) -> object:
    result: Any = message.get("result") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(result, Mapping) or "tools" not in result:
        return message
    listed = result["tools"] if isinstance(result["tools"], list) else []
    shown: dict[str, object] = {**result, "tools": list(await shown_tools(rules, principal, listed))}
    if "cacheScope" in shown:  # what is shown depends on the key, so no other client may keep it
        shown["cacheScope"] = "private"
    return {**message, "result": shown}
