"""Requests through the guards of several replicas while the database is broken, and responses that stay open."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from mcp_keys_server import ApiKey, KeyRing, RequestedGrant
from mcp_keys_server.auth.guard import KeyGuard
from tests.faults.outages import History

SECONDS_TO_ANSWER: Final = 60
"""On a machine that is busy with other things; else it hangs."""
HUNG: Final = 0
CALLERS_OF_EACH: Final = 3
"""With a good key at each replica; one more comes with a key that was revoked long ago."""
EXPECTED: Final = {"good": {200, 503}, "revoked": {401, 503}}


async def application(scope: Scope, _: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/open":
        await send({"type": "http.response.body", "body": b"more ", "more_body": True})
        await asyncio.Event().wait()
    await send({"type": "http.response.body", "body": b"the end"})


@dataclass(eq=False)
class Request:
    key: ApiKey
    path: str = "/"
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = HUNG

    async def run(self, guard: KeyGuard) -> None:
        headers = [(b"x-api-key", self.key.reveal().encode())]
        scope: Scope = {"type": "http", "method": "GET", "path": self.path, "headers": headers}
        await guard(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        raise AssertionError

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begun.set()


@dataclass
class Callers:
    """What they were answered, each by whether the database was away all the time."""

    guards: list[KeyGuard]
    good: ApiKey
    revoked: ApiKey
    is_away: bool = False
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers_while_away: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest_while_away: float = 0.0
    _times: int = 0
    """How often it went away."""

    def go_away(self) -> None:
        self.is_away = True
        self._times += 1

    def come_back(self) -> None:
        self.is_away = False

    @property
    def wrong(self) -> dict[tuple[str, int], int]:
        """Answers that nobody should have got, and none at all."""
        ever = {answer: number for answer, number in self.answers.items() if answer[1] not in EXPECTED[answer[0]]}
        away = {answer: number for answer, number in self.answers_while_away.items() if answer[1] != 503}
        return ever | away

    async def until_refused(self, times: int) -> None:
        """While the database is away."""
        refused = sum(self.answers_while_away.values()) + times
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            while sum(self.answers_while_away.values()) < refused:
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def open_responses(self, of_each: int) -> AsyncIterator[list[asyncio.Task[None]]]:
        requests = [(Request(self.good, "/open"), guard) for guard in self.guards for _ in range(of_each)]
        tasks = [asyncio.create_task(request.run(guard)) for request, guard in requests]
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                for request, _ in requests:
                    await request.begun.wait()
            assert {request.status for request, _ in requests} == {200}
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def call(self, kind: str, key: ApiKey, guard: KeyGuard) -> None:
        while True:
            begun, was_away, times = time.monotonic(), self.is_away, self._times
            request = Request(key)
            try:
                async with asyncio.timeout(SECONDS_TO_ANSWER):
                    await request.run(guard)
            except TimeoutError:
                request.status = HUNG
            self.answers[kind, request.status] += 1
            if was_away and self.is_away and times == self._times:
                self.answers_while_away[kind, request.status] += 1
                self.slowest_while_away = max(self.slowest_while_away, time.monotonic() - begun)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def calling(history: History, rings: Sequence[KeyRing]) -> AsyncIterator[Callers]:
    """What they were answered is in the history at the end."""
    administration = rings[0].administration
    await administration.add_user("caller")
    stays, good = await administration.create_key("caller", name="good", requested=RequestedGrant())
    ends, revoked = await administration.create_key("caller", name="revoked", requested=RequestedGrant())
    history.created |= {stays.key_id, ends.key_id}
    await administration.revoke_key(ends.key_id, reason=None)
    history.revoked.add(ends.key_id)
    guards = [KeyGuard(application, ring.verifier, ring.open_responses) for ring in rings]
    callers = Callers(guards, good, revoked)
    async with asyncio.TaskGroup() as group:
        coming = [
            group.create_task(callers.call(kind, key, guard))
            for guard in guards
            for kind, key in (*[("good", good)] * CALLERS_OF_EACH, ("revoked", revoked))
        ]
        try:
            yield callers
        finally:
            for task in coming:
                task.cancel()
            history.wrong_answers = {f"{kind}: {status}": number for (kind, status), number in callers.wrong.items()}
            history.refusals_while_away = sum(callers.answers_while_away.values())
            history.slowest_refusal = callers.slowest_while_away


async def until_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(SECONDS_TO_ANSWER):
        await asyncio.gather(*tasks)
