"""The responses in progress, each tied to the key that was presented for it, and ended with it."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from math import inf
from time import monotonic
from typing import Final

import anyio

from mcp_keys_server.core.errors import InvalidApiKeyError, StoreUnavailableError
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.verifier import KeyVerifier

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS: Final = 0.5
SECONDS_WITHOUT_STORE: Final = 5.0
"""For so long a response goes on while nobody can say whether its key is good."""
SECONDS_TO_ANSWER: Final = 5.0
"""For so long a response goes on whose own request has ended its key."""
READS_AT_ONCE: Final = 50
"""A fraction of a millisecond on the event loop, or one statement to a server; then others have their turn."""


class Ending(StrEnum):
    """What ended a response before its time."""

    KEY = "key"
    ENDPOINT = "endpoint"
    STORE = "store"


class OpenResponse:
    """One response in progress. Whatever makes it runs within its cancel scope."""

    __slots__ = ("alias", "cancel_scope", "changed_at", "changes", "ending", "good_at", "prefix", "principal")

    def __init__(self, prefix: str, principal: Principal) -> None:
        self.prefix = prefix
        self.principal = principal
        self.alias: str | None = None
        self.ending: Ending | None = None
        self.good_at = monotonic()
        """When its key was known to be good last."""
        self.changes = 0
        """Those of its own request that are being made: nobody here can tell yet whether they are."""
        self.changed_at = -inf
        """When its own request changed something in the store, for the first time after that."""
        self.cancel_scope = anyio.CancelScope()

    def end(self, ending: Ending) -> None:
        self.ending = ending
        self.cancel_scope.cancel()

    def may_answer_yet(self, now: float) -> bool:
        """Whether its key was ended by its own request, whose answer is on its way.

        A change is made with a key that is good in that very transaction. If the key was not seen good since, it was
        this change that ended it. Whatever ends the key later finds it seen good by the look that follows each change.
        """
        if self.changes:  # which may have ended it a moment ago; the look after it will tell
            return True
        return self.changed_at >= self.good_at and now - self.changed_at < SECONDS_TO_ANSWER


CURRENT: Final[ContextVar[OpenResponse | None]] = ContextVar("open_response", default=None)
"""The response that is being made here. Tasks inherit it: those in which the SDK answers, and that of a write."""


def only_while_open(alias: str) -> None:
    """From here on, the response that is being made also ends when its key no longer opens this alias."""
    response = CURRENT.get()
    if response is not None:
        response.alias = alias


class OpenResponses:
    """Those of one process. As long as there are any, the live records of their keys are read twice a second, and at
    once after a change that this process makes. When the store does not answer for long, they end as well.
    """

    def __init__(
        self,
        verifier: KeyVerifier,
        *,
        seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
        seconds_without_store: float = SECONDS_WITHOUT_STORE,
    ) -> None:
        self._verifier = verifier
        self._seconds_between_looks = seconds_between_looks
        self._seconds_without_store = seconds_without_store
        self._open: set[OpenResponse] = set()
        self._opened = asyncio.Event()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, response: OpenResponse) -> None:
        self._open.add(response)
        self._opened.set()

    def remove(self, response: OpenResponse) -> None:
        self._open.discard(response)
        if not self._open:
            self._opened.clear()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around work for the response that is being made here, which may go on when that is gone: it too is cancelled
        when the key ends, and then what follows is passed over.
        """
        response = CURRENT.get()
        if response is None:
            yield
            return
        work = OpenResponse(response.prefix, response.principal)
        work.alias = response.alias
        self.add(work)
        try:
            with work.cancel_scope:
                yield
        finally:
            self.remove(work)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around every change that this process makes, in the context in which it was asked for."""
        response = CURRENT.get()
        if response is None:
            yield
        else:
            response.changes += 1
            try:
                yield
                if response.changed_at < response.good_at:
                    response.changed_at = monotonic()
            finally:
                response.changes -= 1
        self.look_soon()

    def look_soon(self) -> None:
        """After a change, whoever made it."""
        if self._open:
            self._changed.set()

    async def keep_looking(self) -> None:
        """Look until cancelled, whatever becomes of a single look."""
        while True:
            await self._opened.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_between_looks):
                    await self._changed.wait()
            self._changed.clear()
            await self._look()

    async def _look(self) -> None:
        groups: dict[str, list[OpenResponse]] = {}
        for response in self._open:
            groups.setdefault(response.prefix, []).append(response)
        answered: set[str] = set()
        try:
            async with asyncio.timeout(self._seconds_to_look()):
                await self._look_at(groups, answered)
        except TimeoutError:
            pass
        except Exception:
            # Outermost here: were the watcher to end, a revocation would reach nothing that is open any more.
            logger.exception("crashed: the look at open responses")
        now = monotonic()
        for prefix in groups.keys() - answered:
            _end((it for it in groups[prefix] if now - it.good_at > self._seconds_without_store), Ending.STORE)

    def _seconds_to_look(self) -> float:
        """As long as the last of them may go on of which the store has said something: a look that hangs would
        otherwise add its own time to that.
        """
        last = max((it.good_at for it in self._open), default=monotonic())
        return max(last + self._seconds_without_store - monotonic(), self._seconds_between_looks)

    async def _look_at(self, groups: Mapping[str, list[OpenResponse]], answered: set[str]) -> None:
        prefixes = list(groups)
        for start in range(0, len(prefixes), READS_AT_ONCE):
            part = prefixes[start : start + READS_AT_ONCE]
            looks = await asyncio.gather(*(self._look_at_group(prefix, groups[prefix]) for prefix in part))
            answered.update(prefix for prefix, is_answered in zip(part, looks, strict=True) if is_answered)

    async def _look_at_group(self, prefix: str, group: Collection[OpenResponse]) -> bool:
        now = monotonic()  # before the read, because what changes while it is read may not be in it
        try:
            principal = await self._verifier.look_again(prefix)
        except StoreUnavailableError:
            return False
        except InvalidApiKeyError as error:
            _end((it for it in group if not it.may_answer_yet(now)), Ending.KEY, error.refusal)
        else:
            shut = [it for it in group if it.alias is not None and not principal.grant.opens(it.alias)]
            _end((it for it in shut if not it.may_answer_yet(now)), Ending.ENDPOINT)
            for response in set(group).difference(shut):
                response.good_at = now
        return True


def _end(responses: Iterable[OpenResponse], ending: Ending, reason: str | None = None) -> None:
    ended = [response for response in responses if response.ending is None]
    for response in ended:
        response.end(ending)
    if ended:
        whose = ended[0].principal
        logger.info(
            "ended: %s key_id=%s user_id=%s open_responses=%d",
            reason or ending,
            whose.key_id,
            whose.user_id,
            len(ended),
        )
