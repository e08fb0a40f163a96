"""Your keys: all of them, a new one, another name, the end."""

import logging
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import InvalidFieldError, KeyNotFoundError, NotPermittedError, TooManyKeysError
from mcp_keys_server.core.field_rules import check_aliases, check_life, check_scopes, parse_name
from mcp_keys_server.core.grant import KEYS_ALIAS, KEYS_READ, KEYS_WRITE, RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager, KeyPage
from mcp_keys_server.core.records import Actor, KeyRecord, Principal
from mcp_keys_server.server.addresses import claim_path
from mcp_keys_server.server.pages.forms import Form, form_route, read_form
from mcp_keys_server.server.pages.rendering import page
from mcp_keys_server.server.pages.signing_in import KEYS_PAGE
from mcp_keys_server.server.pages.visitors import Visitors

logger = logging.getLogger(__name__)

_EMPTY: Final = Form({})


class KeyPages:
    """``/keys/`` and what can be done there with one key."""

    def __init__(self, manager: KeyManager, visitors: Visitors, *, clock: Clock = utc_now) -> None:
        self._manager = manager
        self._visitors = visitors
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            form_route("/", self.show, self.create),
            form_route("/{key_id}/rename", self.ask_for_name, self.rename),
            form_route("/{key_id}/revoke", self.ask_to_revoke, self.revoke),
        ]

    async def show(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        return await self._list(request, actor, _EMPTY)

    async def create(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        form, client = await read_form(request), client_address(request.scope)
        requested, errors = _read(form)
        if requested is None:
            return await self._list(request, actor, form, errors, 400)
        try:
            key = await self._manager.create_unclaimed_key(
                actor, name=form.text("name"), requested=requested, client=client
            )
        except (NotPermittedError, TooManyKeysError) as error:
            return await self._list(request, actor, form, {"form": str(error)}, 403)
        logger.info("created: key_id=%s user_id=%s by=%s", key.key_id, key.user_id, actor.key_id or "person")
        return RedirectResponse(claim_path(key.key_id), 303)

    async def _list(
        self, request: Request, actor: Actor, form: Form, errors: dict[str, str] | None = None, status: int = 200
    ) -> Response:
        asked = request.query_params
        include_ended = asked.get("all") == "1"
        found = await self._keys(actor, include_ended=include_ended, cursor=asked.get("after"))
        return page(
            "keys.html",
            status,
            actor=actor,
            keys=found.keys,
            next_cursor=found.next_cursor,
            include_ended=include_ended,
            now=self._clock(),
            changed=await self._changed(actor, asked.get("changed")),
            form=form,
            chosen=form.texts("scopes") if form is not _EMPTY else actor.grant.scopes - {KEYS_WRITE},
            errors=errors or {},
        )

    async def _keys(self, actor: Actor, *, include_ended: bool, cursor: str | None) -> KeyPage:
        if isinstance(actor, Principal) and KEYS_READ not in actor.grant.scopes:
            return KeyPage([await self._manager.current_key(actor)], None)
        return await self._manager.list_keys(actor, include_ended=include_ended, cursor=cursor)

    async def _changed(self, actor: Actor, key_id: str | None) -> KeyRecord | None:
        """The key that the address says was changed: told as it is now, since anybody can write an address."""
        try:
            return await self._manager.find_key(actor, key_id=key_id or "")
        except (InvalidFieldError, KeyNotFoundError, NotPermittedError):
            return None

    async def ask_for_name(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        key = await self._manager.find_key(actor, key_id=request.path_params["key_id"])
        return page("rename.html", key=key, name=key.name, error="")

    async def rename(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        form, client = await read_form(request), client_address(request.scope)
        key = await self._manager.find_key(actor, key_id=request.path_params["key_id"])
        try:
            await self._manager.update_key(actor, key_id=key.key_id, name=form.text("name"), client=client)
        except InvalidFieldError as error:
            return page("rename.html", 400, key=key, name=form.kept("name"), error=error.rule)
        logger.info("renamed: key_id=%s user_id=%s by=%s", key.key_id, key.user_id, actor.key_id or "person")
        return RedirectResponse(f"{KEYS_PAGE}?changed={key.key_id}", 303)

    async def ask_to_revoke(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        key = await self._manager.find_key(actor, key_id=request.path_params["key_id"])
        return page("revoke.html", key=key, is_current=key.key_id == actor.key_id, reason="", error="")

    async def revoke(self, request: Request) -> Response:
        actor = await self._visitors.actor(request)
        form, client = await read_form(request), client_address(request.scope)
        key = await self._manager.find_key(actor, key_id=request.path_params["key_id"])
        try:
            end = self._manager.revoke_with_descendants if form.text("cascade") else self._manager.revoke_key
            await end(actor, key_id=key.key_id, reason=form.text("reason") or None, client=client)
        except InvalidFieldError as error:
            is_current, reason = key.key_id == actor.key_id, form.kept("reason")
            return page("revoke.html", 400, key=key, is_current=is_current, reason=reason, error=error.rule)
        logger.info("revoked: key_id=%s user_id=%s by=%s", key.key_id, key.user_id, actor.key_id or "person")
        return RedirectResponse(f"{KEYS_PAGE}?changed={key.key_id}", 303)


def _read(form: Form) -> tuple[RequestedGrant | None, dict[str, str]]:
    """What the form asks for; or, where something is wrong, None and the rule of each field that breaks its own."""
    aliases, days = form.text("aliases").replace(",", " ").split(), form.text("expires_in_days").strip()
    scopes = frozenset(form.texts("scopes"))
    errors: dict[str, str] = {}
    for check in (
        partial(parse_name, form.text("name")),
        partial(check_scopes, scopes),
        partial(check_aliases, aliases or [KEYS_ALIAS]),
        partial(_life, days),
    ):
        try:
            check()
        except InvalidFieldError as error:
            errors[error.field] = error.rule
    if errors:
        return None, errors
    return RequestedGrant(scopes, frozenset(aliases) or None, _life(days)), {}


def _life(days: str) -> float | None:
    if not days:
        return None
    try:
        life = float(days)
    except ValueError:
        raise InvalidFieldError("expires_in_days", "a number of days, or nothing") from None
    check_life(life)
    return life
