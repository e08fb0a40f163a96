"""How a new key reaches the person it is for.

A key that a tool makes goes past the language model that called the tool: to a page that the person opens, or into a
file on their own machine. Only where the operator says so is it in the result.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from mcp_types import InputRequiredResult

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, Principal
from mcp_keys_server.server.tool_results import KeyInline, KeyView

logger = logging.getLogger(__name__)

Answer = Literal["accept", "decline", "cancel"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool: on whose behalf, and what its client can do and has answered."""

    principal: Principal
    opens_links: bool = False
    """Whether the client asks the person to open a page when the result says so (URL elicitation, 2026-07-28)."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    client: str | None = None
    """The network address."""
    state: str | None = None
    """What the result before this call gave it to bring back: untrusted."""


class Delivery(Protocol):
    """One way for a secret to reach its person."""

    result: ClassVar[type[KeyView]]
    told_to_the_model: ClassVar[str]

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> KeyView | InputRequiredResult:
        """Make a key, and see to it that the person gets it."""

    async def rotate(self, call: Call, *, key_id: str, overlap_hours: float) -> KeyView | InputRequiredResult:
        """Give a key a new secret, and see to it that the person gets that."""


class InlineDelivery:
    """The key is in the result, where the language model and all that keeps its context see it."""

    result: ClassVar[type[KeyView]] = KeyInline
    told_to_the_model: ClassVar[str] = (
        "The result holds the key itself, this once: show it to the user, who puts it into the other client as "
        '"Authorization: Bearer KEY", and do not repeat it afterwards.'
    )

    def __init__(self, manager: KeyManager, *, clock: Clock = utc_now) -> None:
        self._manager = manager
        self._clock = clock

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> KeyInline:
        record, key = await self._manager.create_key(call.principal, name=name, requested=requested, client=call.client)
        log_delivered("created", record, call)
        return self._view(record, key, call)

    async def rotate(self, call: Call, *, key_id: str, overlap_hours: float) -> KeyInline:
        record, key = await self._manager.rotate_key(
            call.principal, key_id=key_id, overlap_hours=overlap_hours, client=call.client
        )
        log_delivered("rotated", record, call)
        return self._view(record, key, call)

    def _view(self, record: KeyRecord, key: ApiKey, call: Call) -> KeyInline:
        what_to_do = "Show the key to the user now; it cannot be had again. Do not repeat it afterwards."
        return KeyInline.of(record, call.principal.key_id, self._clock(), key=key.reveal(), what_to_do=what_to_do)


def log_delivered(done: str, key: KeyRecord, call: Call) -> None:
    logger.info("%s: key_id=%s user_id=%s by=%s", done, key.key_id, key.user_id, call.principal.key_id)
