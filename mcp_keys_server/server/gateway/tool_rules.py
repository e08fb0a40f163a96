"""Which tools of an upstream are shown to whom, and which may be called."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import anyio

from mcp_keys_server.core.api_key import redact
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.tool_pins import ToolPins
from mcp_keys_server.upstreams import Upstream

logger = logging.getLogger(__name__)

Definition = Mapping[str, Any]
"""A tool as it stands on the wire."""

MOST_TOOLS: Final = 1_000
"""Of one answer; what is listed beyond them is left out."""
MOST_PINS: Final = 5_000
"""Of one alias."""
LONGEST_NAME: Final = 128
"""Characters; SEP-986."""
_SHOWN_TO_MODELS: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


class ToolRules:
    """Those of one alias.

    A tool is shown, and may be called, if the operator lets it through, the key's ``tools`` name it, and it does not
    have the name of a tool of ours, behind which a model would not look for another. What a tool looks like is noted
    when it is first seen; one that has changed since is told of in the log, and held back if the operator wants it.
    """

    def __init__(
        self, alias: str, upstream: Upstream, reserved: Collection[str], pins: ToolPins, *, clock: Clock = utc_now
    ) -> None:
        self._alias = alias
        self._allow = upstream.allow
        self._holds_back = upstream.pin_descriptions
        self._reserved = frozenset(reserved)
        self._pins = pins
        self._clock = clock
        self._seen: dict[str, str] = {}
        """The latest digest of each tool."""
        self._changed: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._comparing = anyio.Lock()

    def needs_listing(self, name: str) -> bool:
        """Whether a tool has to be listed before anybody can say whether it may be called."""
        return self._holds_back and name not in self._seen

    def lets_call(self, principal: Principal, name: str) -> bool:
        """Whether this key may call the tool; one that is held back has to have been seen before."""
        if not self._lets_through(name) or not principal.grant.may_call(self._alias, name):
            return False
        return not self._holds_back or (name in self._seen and name not in self._changed)

    async def shown(self, principal: Principal, listed: Sequence[Definition]) -> Sequence[Definition]:
        """What of one answer this key is shown.

        Raises:
            StoreUnavailableError: Nobody can say whether one has changed.
        """
        if len(listed) > MOST_TOOLS:
            self._tell("*", "more", f"lists {len(listed)} tools in one answer; only the first {MOST_TOOLS} are shown")
        tools = {tool["name"]: tool for tool in listed[:MOST_TOOLS] if has_a_name(tool)}
        digests = {name: digest_of(tool) for name, tool in tools.items()}
        if not self._is_known(digests):
            async with self._comparing:  # one after the other, or each of a crowd would pin the same tools
                if not self._is_known(digests):
                    await self._compare(digests)
        return [tool for name, tool in tools.items() if self.lets_call(principal, name)]

    def _lets_through(self, name: str) -> bool:
        if name in self._reserved:
            self._tell(name, "reserved", f"offers a tool with the name of one of ours, {name}: it is left out")
            return False
        return self._allow is None or any(fnmatchcase(name, pattern) for pattern in self._allow)

    def _is_known(self, digests: Mapping[str, str]) -> bool:
        seen_as_they_are = all(self._seen.get(name) == digest for name, digest in digests.items())
        return seen_as_they_are and self._changed.isdisjoint(digests)

    async def _compare(self, digests: Mapping[str, str]) -> None:
        # What is not pinned may have been until the operator had it forgotten: then what it was so far counts, or, if
        # that was not what it had been, what it is now.
        pinned = dict(await self._pins.pinned(self._alias))
        room = max(0, MOST_PINS - len(pinned))
        unpinned = [name for name in digests if name not in pinned][:room]
        new = {
            name: digests[name] if name in self._changed else self._seen.get(name, digests[name]) for name in unpinned
        }
        if new:
            await self._pins.pin(self._alias, new, self._clock())
        pinned |= new
        for name, digest in digests.items():
            if pinned.get(name) == digest:
                self._changed.discard(name)
            else:
                self._changed.add(name)
                held = "it is held back" if self._holds_back else "it is let through"
                self._tell(name, digest, f"tool {redact(name)!r} is not what it was when it was first seen: {held}")
        self._seen = {**self._seen, **digests} if len(self._seen) < MOST_PINS else dict(digests)

    def _tell(self, name: str, about: str, sentence: str) -> None:
        if (name, about) not in self._told and len(self._told) < MOST_PINS:
            self._told.add((name, about))
            logger.warning("upstream %s %s", self._alias, sentence)


def has_a_name(tool: Definition) -> bool:
    name = tool.get("name")
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME


def digest_of(tool: Definition) -> str:
    """Of all of it that tells a model what it does."""
    told = {field: tool[field] for field in _SHOWN_TO_MODELS if field in tool}
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def called_tool(params: Mapping[str, Any]) -> str | None:
    """The tool that a call with these parameters names, in one spelling; None: nobody can tell."""
    name = params.get("name")
    # Some parsers do not tell capital letters from small ones, and let the last of the names win.
    spellings = [key for key in params if key.lower() == "name"]
    return name if isinstance(name, str) and len(spellings) == 1 else None
