"""What an invitation opens: the first key of somebody who has none to sign in with."""

import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import ClaimNotOpenError
from mcp_keys_server.core.invitations import Invitations
from mcp_keys_server.core.records import KeyRecord, KeyStatus
from mcp_keys_server.server.addresses import invitation_path
from mcp_keys_server.server.pages.forms import form_route, read_form
from mcp_keys_server.server.pages.handed_over import handed_over
from mcp_keys_server.server.pages.rendering import page

logger = logging.getLogger(__name__)


class InvitationPages:
    """``/keys/invitation/{code}``. As with a claim, only the button does anything."""

    def __init__(self, invitations: Invitations, public_url: str, *, clock: Clock = utc_now) -> None:
        self._invitations = invitations
        self._public_url = public_url
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            form_route("/invitation/{code}", self.show, self.accept),
            Route("/invitation/{code}/revoke", self.disown, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        code = request.path_params["code"]
        return self._offer(await self._invitations.find(code), code)

    async def accept(self, request: Request) -> Response:
        await read_form(request)
        code, client = request.path_params["code"], client_address(request.scope)
        try:
            record, key = await self._invitations.accept(code, claimed_from=client)
        except ClaimNotOpenError:
            return self._over(await self._invitations.find(code), code)
        logger.info("claimed: key_id=%s user_id=%s by=invitation client=%s", record.key_id, record.user_id, client)
        return handed_over(record, key, self._public_url)

    async def disown(self, request: Request) -> Response:
        await read_form(request)
        code = request.path_params["code"]
        key = await self._invitations.disown(code, client=client_address(request.scope))
        logger.info("revoked: key_id=%s user_id=%s by=invitation", key.key_id, key.user_id)
        return self._over(key, code)

    def _offer(self, key: KeyRecord, code: str) -> Response:
        if key.status(self._clock()) is KeyStatus.UNCLAIMED:
            return page("invitation.html", key=key)
        return self._over(key, code)

    def _over(self, key: KeyRecord, code: str) -> Response:
        now = self._clock()
        status = key.status(now)
        lasts = key.claim is not None and key.claim.lapses_at > now
        return page(
            "invitation_over.html",
            410,
            key=key,
            status=status,
            revoke_at=f"{invitation_path(code)}/revoke" if lasts and status is KeyStatus.ACTIVE else "",
        )
