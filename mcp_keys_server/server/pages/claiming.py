"""Claiming a key: the one moment in which its secret is made, and shown to its owner."""

import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNotFoundError
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import Actor, KeyRecord
from mcp_keys_server.server.pages.forms import form_route, read_form
from mcp_keys_server.server.pages.handed_over import handed_over
from mcp_keys_server.server.pages.rendering import page
from mcp_keys_server.server.pages.visitors import Visitors

logger = logging.getLogger(__name__)


class ClaimPages:
    """``/keys/{key_id}/claim``. Looking at it changes nothing; only its button spends the claim."""

    def __init__(
        self, manager: KeyManager, visitors: Visitors, throttle: Throttle, public_url: str, *, clock: Clock = utc_now
    ) -> None:
        self._manager = manager
        self._visitors = visitors
        self._throttle = throttle
        self._public_url = public_url
        self._clock = clock

    def routes(self) -> list[Route]:
        return [form_route("/{key_id}/claim", self.show, self.claim)]

    async def show(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        key = await self._manager.find_key(actor, key_id=request.path_params["key_id"])
        return await self._offer(actor, key)

    async def claim(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        await read_form(request)
        key_id, client = request.path_params["key_id"], client_address(request.scope)
        seconds = await self._throttle.take(actor.key_id or actor.user_id)
        if seconds:
            text = f"Too many keys were claimed. Wait {seconds} seconds, then press the button again."
            answer = page("message.html", 429, heading="Not so fast", text=text)
            answer.headers["retry-after"] = str(seconds)
            return answer
        try:
            record, key = await self._manager.claim_key(actor, key_id=key_id, claimed_from=client)
        except ClaimNotOpenError:
            return self._over(await self._manager.find_key(actor, key_id=key_id))
        logger.info(
            "claimed: key_id=%s user_id=%s by=%s client=%s",
            record.key_id,
            record.user_id,
            actor.key_id or "person",
            client,
        )
        return handed_over(record, key, self._public_url)

    async def _offer(self, actor: Actor, key: KeyRecord) -> Response:
        if not key.awaits_claim(self._clock()) or (key.claim and key.claim.by_invitation):
            return self._over(key)
        maker = await self._maker(actor, key)
        return self._over(key) if maker and maker.revoked_at else page("claim.html", key=key, asked_by=maker)

    def _over(self, key: KeyRecord) -> Response:
        status, revoke_at = key.status(self._clock()), f"/keys/{key.key_id}/revoke"
        return page("claim_over.html", 410, key=key, status=status, revoke_at=revoke_at)

    async def _maker(self, actor: Actor, key: KeyRecord) -> KeyRecord | None:
        if key.parent_key_id is None:
            return None
        try:
            return await self._manager.find_key(actor, key_id=key.parent_key_id)
        except KeyNotFoundError:
            return None
