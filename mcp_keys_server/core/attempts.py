"""Changes that actors attempt: how many, and the entry in the ledger for those who attempt more than they may.

Nothing is ever removed from the ledger, so what a user can add to it is bounded in time. Only what has a bound in what
was made before is not counted: every key is revoked once and every claim spent once, and nobody is to be kept from
ending a key by somebody who has got hold of another one.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.counters import Counters
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import NotPermittedError, TooManyChangesError, TooManyKeysError
from mcp_keys_server.core.issuance import NewSecret
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import Doer, Event, EventKind
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Actor

MOST_REFUSALS: Final = 100
"""Of one user within an hour that are entries; those beyond it are in the log only, like every other."""
AN_HOUR: Final = 3600
Result = TypeVar("Result")


class Attempts:
    """Makes each attempt a deed of its actor, from their network address, in the moment in which it is decided."""

    def __init__(self, store: KeyStore, issuer: KeyIssuer, counters: Counters, policy: KeyPolicy, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._counters = counters
        self._policy = policy
        self._clock = clock

    async def change(
        self,
        actor: Actor,
        client: str | None,
        decide: Callable[[Holdings, Deed], Decision[Result]],
        *,
        counted: bool = True,
    ) -> Result:
        """
        Raises:
            TooManyChangesError: It was to be counted, and is one too many.
        """

        def dated(holdings: Holdings) -> Decision[Result]:
            return decide(holdings, self._deed(actor, client))

        if counted:
            await self._count(actor)
        return await self._noting(actor, client, self._store.change(actor.user_id, dated))

    async def issue(
        self,
        actor: Actor,
        client: str | None,
        decide: Callable[[Holdings, Deed, NewSecret], Decision[Result]],
        *,
        counted: bool = True,
    ) -> tuple[Result, ApiKey]:
        """
        Raises:
            TooManyChangesError: It was to be counted, and is one too many.
        """

        def dated(holdings: Holdings, secret: NewSecret) -> Decision[Result]:
            # Dated here and not before the hash, whose making takes time in which the actor's key may expire.
            return decide(holdings, self._deed(actor, client), secret)

        if counted:
            await self._count(actor)
        return await self._noting(actor, client, self._issuer.issue(actor.user_id, dated))

    async def _count(self, actor: Actor) -> None:
        most = self._policy.max_changes_per_hour
        seconds = 0 if most is None else await self._counters.take(f"changes {actor.user_id}", most, AN_HOUR)
        if seconds:
            raise TooManyChangesError(seconds)

    def _deed(self, actor: Actor, client: str | None) -> Deed:
        return Deed(Doer.of(actor, client), self._clock(), actor)

    async def _noting(self, actor: Actor, client: str | None, change: Awaitable[Result]) -> Result:
        """What the change gives; that somebody tried more than they may is written down."""
        try:
            return await change
        except (NotPermittedError, TooManyKeysError) as error:
            by = Doer.of(actor, client)
            refused = Event(EventKind.REFUSED, self._clock(), actor.user_id, actor.key_id, by, str(error))
            if not await self._counters.take(f"refusals {actor.user_id}", MOST_REFUSALS, AN_HOUR):
                await self._store.add_event(refused)
            raise
