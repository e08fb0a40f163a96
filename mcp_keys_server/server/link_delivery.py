"""A new secret by a link: its person opens a page."""

from typing import ClassVar, Final

import anyio
from mcp_types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import KeyNotFoundError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, KeyStatus
from mcp_keys_server.server.addresses import claim_path
from mcp_keys_server.server.delivery import Call, log_delivered
from mcp_keys_server.server.tool_results import ClaimableKey, KeyView

CLAIM: Final = "claim"
"""The name under which the person's answer comes back."""
SECONDS_TO_WAIT: Final = 30.0
"""For a person who has said that they open the page; clients give a call a minute or more."""
SECONDS_BETWEEN_LOOKS: Final = 0.5


class LinkDelivery:
    """The person opens a page, signed in, and is shown the key there."""

    result: ClassVar[type[KeyView]] = ClaimableKey
    told_to_the_model: ClassVar[str] = (
        "You are not told the key: it does not exist until the user claims it on a page of this server. Give the user "
        "the claim_url and say that they sign in there with one of their keys; get_key tells whether it was claimed. "
        "What is not claimed opens nothing and lapses."
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
        if call.state is None:
            key = await self._manager.create_unclaimed_key(
                call.principal, name=name, requested=requested, client=call.client
            )
            log_delivered("created", key, call)
            return self._offered(key, call)
        key = await self._manager.find_key(call.principal, key_id=call.state)
        if key.parent_key_id != call.principal.key_id:
            raise KeyNotFoundError
        if call.answers.get(CLAIM) == "decline" and key.status(self._clock()) is KeyStatus.UNCLAIMED:
            key = await self._manager.revoke_key(
                call.principal, key_id=key.key_id, reason="its owner declined to claim it", client=call.client
            )
        return self._view(await self._answered(key, call), call)

    async def rotate(self, call: Call, *, key_id: str, overlap_hours: float) -> ClaimableKey | InputRequiredResult:
        if call.state is None:
            key = await self._manager.offer_rotation(
                call.principal, key_id=key_id, overlap_hours=overlap_hours, client=call.client
            )
            log_delivered("rotation offered", key, call)
            return self._offered(key, call)
        if call.state != key_id:
            raise KeyNotFoundError
        return self._view(await self._answered(await self._manager.find_key(call.principal, key_id=key_id), call), call)

    def _offered(self, key: KeyRecord, call: Call) -> ClaimableKey | InputRequiredResult:
        if not call.opens_links:
            return self._view(key, call)
        params = ElicitRequestURLParams(
            message=f"Open this page to be shown the new secret of your API key '{key.name}', this once. "
            "You sign in there with a key that you have.",
            url=self._claim_url(key),
        )
        # The state is the key's id and needs no seal: of what comes back, nothing is believed but that it names a key
        # which this very caller may look at.
        return InputRequiredResult(input_requests={CLAIM: ElicitRequest(params=params)}, request_state=key.key_id)

    async def _answered(self, key: KeyRecord, call: Call) -> KeyRecord:
        """The key when it was claimed, or when there is nothing more to wait for."""
        if call.answers.get(CLAIM) == "accept":
            with anyio.move_on_after(self._seconds_to_wait):
                while key.awaits_claim(self._clock()):
                    await anyio.sleep(SECONDS_BETWEEN_LOOKS)
                    key = await self._manager.find_key(call.principal, key_id=key.key_id)
        return key

    def _view(self, key: KeyRecord, call: Call) -> ClaimableKey:
        now, url = self._clock(), self._claim_url(key)
        if key.awaits_claim(now):
            what_to_do = (
                f"Tell the user to open {url} and sign in there: the key is shown to them, this once, and not to you."
            )
        elif key.status(now) is KeyStatus.ACTIVE and key.claim and key.claim.claimed_at:
            what_to_do = "The user has been shown the key. Do not ask for it."
        else:
            what_to_do = "This was not claimed and never will be. Ask for another one if the user wants it."
        return ClaimableKey.of(key, call.principal.key_id, now, claim_url=url, what_to_do=what_to_do)

    def _claim_url(self, key: KeyRecord) -> str:
        return self._public_url + claim_path(key.key_id)
