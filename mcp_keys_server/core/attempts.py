"""Changes that actors attempt, and the entry in the ledger for those who attempt more than they may."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import NotPermittedError, TooManyKeysError
from mcp_keys_server.core.issuance import NewSecret
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import Doer, Event, EventKind
from mcp_keys_server.core.records import Actor

Result = TypeVar("Result")


class Attempts:
    """Makes each attempt a deed of its actor, from their network address, in the moment in which it is decided."""

    def __init__(self, store: KeyStore, issuer: KeyIssuer, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def change(
        self, actor: Actor, client: str | None, decide: Callable[[Holdings, Deed], Decision[Result]]
    ) -> Result:
        def dated(holdings: Holdings) -> Decision[Result]:
            return decide(holdings, self._deed(actor, client))

        return await self._noting(actor, client, self._store.change(actor.user_id, dated))

    async def issue(
        self, actor: Actor, client: str | None, decide: Callable[[Holdings, Deed, NewSecret], Decision[Result]]
    ) -> tuple[Result, ApiKey]:
        def dated(holdings: Holdings, secret: NewSecret) -> Decision[Result]:
            # Dated here and not before the hash, whose making takes time in which the actor's key may expire.
            return decide(holdings, self._deed(actor, client), secret)

        return await self._noting(actor, client, self._issuer.issue(actor.user_id, dated))

    def _deed(self, actor: Actor, client: str | None) -> Deed:
        return Deed(Doer.of(actor, client), self._clock(), actor)

    async def _noting(self, actor: Actor, client: str | None, change: Awaitable[Result]) -> Result:
        """What the change gives; that somebody tried more than they may is written down."""
        try:
            return await change
        except (NotPermittedError, TooManyKeysError) as error:
            by = Doer.of(actor, client)
            refused = Event(EventKind.REFUSED, self._clock(), actor.user_id, actor.key_id, by, str(error))
            await self._store.add_event(refused)
            raise
