"""How a new key reaches the person it is for.

A key that a tool makes goes past the language model that called the tool: to a page that the person opens, or into a
file on their own machine. Only where the operator says so is it in the result.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol

import anyio
import anyio.to_thread
from mcp_types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import KeyNotFoundError, McpKeysError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, KeyStatus, Principal
from mcp_keys_server.server.addresses import claim_path
from mcp_keys_server.server.tool_shapes import ClaimableKey, KeyInFile, KeyInline, KeyView

logger = logging.getLogger(__name__)

CLAIM: Final = "claim"
"""The name under which the person's answer comes back."""
SECONDS_TO_WAIT: Final = 30.0
"""For a person who has said that they open the page; clients give a call a minute or more."""
SECONDS_BETWEEN_LOOKS: Final = 0.5

Answer = Literal["accept", "decline", "cancel"]


class KeyFileError(McpKeysError):
    """The file for a new key cannot be written. The key was revoked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool: on whose behalf, and what its client can do and has answered."""

    principal: Principal
    opens_links: bool = False
    """Whether the client asks the person to open a page when the result says so (URL elicitation, 2026-07-28)."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    state: str | None = None
    """What the result before this call gave it to bring back: untrusted."""


class Delivery(Protocol):
    """One way for a key to reach its person."""

    result: ClassVar[type[KeyView]]
    told_to_the_model: ClassVar[str]

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> KeyView | InputRequiredResult:
        """Make a key, and see to it that the person gets it."""


class LinkDelivery:
    """The person opens a page, signed in, and is shown the key there."""

    result: ClassVar[type[KeyView]] = ClaimableKey
    told_to_the_model: ClassVar[str] = (
        "You are not told the key: it does not exist until the user claims it on a page of this server. Give the user "
        "the claim_url and say that they sign in there with one of their keys; get_key tells whether it was claimed. "
        "An unclaimed key opens nothing and lapses."
    )

    def __init__(
        self,
        manager: KeyManager,
        public_url: str,
        *,
        seconds_to_wait: float = SECONDS_TO_WAIT,
        clock: Clock = utc_now,
    ) -> None:
        self._manager = manager
        self._public_url = public_url
        self._seconds_to_wait = seconds_to_wait
        self._clock = clock

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> ClaimableKey | InputRequiredResult:
        if call.state is not None:
            return await self._answered(call, call.state)
        key = await self._manager.create_unclaimed_key(call.principal, name=name, requested=requested)
        _log_created(key, call)
        if call.opens_links:
            return self._question(key)
        return self._view(key, call)

    def _question(self, key: KeyRecord) -> InputRequiredResult:
        params = ElicitRequestURLParams(
            message=f"Open this page to be shown your new API key '{key.name}', this once. "
            "You sign in there with a key that you have.",
            url=self._claim_url(key),
        )
        # The state is the key's id and needs no seal: of what comes back, nothing is believed but that it names a key
        # which this very caller made.
        return InputRequiredResult(input_requests={CLAIM: ElicitRequest(params=params)}, request_state=key.key_id)

    async def _answered(self, call: Call, key_id: str) -> ClaimableKey:
        key = await self._manager.find_key(call.principal, key_id=key_id)
        if key.parent_key_id != call.principal.key_id:
            raise KeyNotFoundError
        match call.answers.get(CLAIM):
            case "accept":
                key = await self._wait_until_claimed(call.principal, key)
            case "decline" if key.status(self._clock()) is KeyStatus.UNCLAIMED:
                key = await self._manager.revoke_key(
                    call.principal, key_id=key.key_id, reason="its owner declined to claim it"
                )
        return self._view(key, call)

    async def _wait_until_claimed(self, principal: Principal, key: KeyRecord) -> KeyRecord:
        with anyio.move_on_after(self._seconds_to_wait):
            while key.status(self._clock()) is KeyStatus.UNCLAIMED:
                await anyio.sleep(SECONDS_BETWEEN_LOOKS)
                key = await self._manager.find_key(principal, key_id=key.key_id)
        return key

    def _view(self, key: KeyRecord, call: Call) -> ClaimableKey:
        now = self._clock()
        match key.status(now):
            case KeyStatus.UNCLAIMED:
                what_to_do = (
                    f"Tell the user to open {self._claim_url(key)} and sign in there: the key is shown to them, this "
                    "once, and not to you."
                )
            case KeyStatus.ACTIVE:
                what_to_do = "The user has been shown the key. Do not ask for it."
            case _:
                what_to_do = "This key was not claimed and never will be. Create another one if the user wants it."
        return ClaimableKey.of(key, call.principal.key_id, now, claim_url=self._claim_url(key), what_to_do=what_to_do)

    def _claim_url(self, key: KeyRecord) -> str:
        return self._public_url + claim_path(key.key_id)


class FileDelivery:
    """The key is written to a file that only the user of this machine can read."""

    result: ClassVar[type[KeyView]] = KeyInFile
    told_to_the_model: ClassVar[str] = (
        "You are not told the key: it is written to the file key_file on the user's machine. Tell them the path, and "
        "do not read the file yourself."
    )

    def __init__(self, manager: KeyManager, folder: Path, *, clock: Clock = utc_now) -> None:
        self._manager = manager
        self._folder = folder
        self._clock = clock

    async def create(self, call: Call, *, name: str, requested: RequestedGrant) -> KeyInFile:
        record, key = await self._manager.create_key(call.principal, name=name, requested=requested)
        path = self._folder / f"{record.key_id}.txt"
        try:
            await anyio.to_thread.run_sync(_write_private, path, f"{key.reveal()}\n")
        except OSError as error:
            await self._manager.revoke_key(call.principal, key_id=record.key_id, reason="its file cannot be written")
            raise KeyFileError(
                f"the file for the key cannot be written, so the key was revoked: {path}: {error.strerror}"
            ) from error
        _log_created(record, call)
        what_to_do = "Tell the user that their new key is in this file, and that they may move or delete it."
        return KeyInFile.of(record, call.principal.key_id, self._clock(), key_file=str(path), what_to_do=what_to_do)


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
        record, key = await self._manager.create_key(call.principal, name=name, requested=requested)
        _log_created(record, call)
        what_to_do = "Show the key to the user now; it cannot be had again. Do not repeat it afterwards."
        return KeyInline.of(record, call.principal.key_id, self._clock(), key=key.reveal(), what_to_do=what_to_do)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def _log_created(key: KeyRecord, call: Call) -> None:
    logger.info("created: key_id=%s user_id=%s by=%s", key.key_id, key.user_id, call.principal.key_id)
