"""Calls that go on between two requests of the client that made them.

An upstream of the handshake era asks in the middle of a call, and waits. A client of the later era is asked by the
result of its request, and sends another one with the answer. So such a call lives in a task of its own, and each of the
client's requests takes it on from where it stands.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, InputRequest, InputResponse
from pydantic import ValidationError

from mcp_keys_server.server.gateway.programs.questions import SECONDS_TO_ANSWER, Context, answer_to

Message = dict[str, Any]

MOST_PARKED: Final = 16
"""Of one user at one alias; for one more the oldest is given up."""
_STATE: Final = "mcp-keys-server/parked/"
_QUESTION: Final = "question"


class LastingCall:
    """One call. What comes of it, a question or the result or an error, is told to one request after the other."""

    def __init__(self, context: Context, *, seconds_to_answer: float = SECONDS_TO_ANSWER) -> None:
        self.context = context
        """Of the request that follows it at the moment."""
        self._seconds_to_answer = seconds_to_answer
        self._news: asyncio.Queue[Message | InputRequest | Exception] = asyncio.Queue()
        self._scope = anyio.CancelScope()
        self._question: InputRequest | None = None
        self._answer: asyncio.Future[InputResponse] | None = None

    async def run(self, work: Callable[[], Awaitable[Message]]) -> None:
        """The task."""
        outcome: Message | Exception = MCPError(INVALID_REQUEST, "The call was given up")
        with self._scope:
            try:
                outcome = await work()
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits for it
                outcome = error
        self._news.put_nowait(outcome)

    async def news(self) -> Message | InputRequest:
        """What comes next. Whoever stops to wait for it gives the call up."""
        try:
            news = await self._news.get()
        except BaseException:
            self.give_up()
            raise
        if isinstance(news, Exception):
            raise news
        return news

    async def ask(self, question: InputRequest) -> InputResponse:
        """Called on behalf of the upstream.

        Raises:
            MCPError: Nobody answered in time.
        """
        self._question, self._answer = question, asyncio.get_running_loop().create_future()
        self._news.put_nowait(question)
        try:
            async with asyncio.timeout(self._seconds_to_answer):
                return await self._answer
        except TimeoutError:
            raise MCPError(INVALID_REQUEST, "Nobody answered in time") from None

    def answer(self, raw: object) -> None:
        """
        Raises:
            MCPError: This is no answer to what was asked.
        """
        assert self._question is not None  # noqa: S101 - it is parked because it has asked
        assert self._answer is not None  # noqa: S101
        try:
            answer = answer_to(self._question).model_validate(raw, by_name=False)
        except ValidationError:
            raise MCPError(INVALID_PARAMS, f"inputResponses: {_QUESTION} holds no answer to what was asked") from None
        if not self._answer.done():
            self._answer.set_result(answer)

    def give_up(self) -> None:
        self._scope.cancel()


class ParkedCalls:
    """Those of one user at one alias that wait for an answer of their client."""

    def __init__(self) -> None:
        self._calls: dict[str, LastingCall] = {}

    def park(self, call: LastingCall, question: InputRequest) -> Message:
        """The result by which the client is asked, and by whose state the call is found again."""
        state = _STATE + secrets.token_urlsafe(16)
        self._calls[state] = call
        if len(self._calls) > MOST_PARKED:
            self._calls.pop(next(iter(self._calls))).give_up()
        asked = question.model_dump(by_alias=True, mode="json", exclude_none=True)
        return {"resultType": "input_required", "inputRequests": {_QUESTION: asked}, "requestState": state}

    def take_up(self, params: Message) -> LastingCall | None:
        """The call that this request goes on with, which has its answer then; None: it begins one.

        Raises:
            MCPError: It was given up, or has no answer.
        """
        state = params.get("requestState")
        if not isinstance(state, str) or not state.startswith(_STATE):
            return None
        call = self._calls.pop(state, None)
        if call is None:
            raise MCPError(INVALID_PARAMS, "requestState: this call does not wait for an answer any more; call again")
        try:
            call.answer((params.get("inputResponses") or {}).get(_QUESTION))
        except BaseException:
            call.give_up()
            raise
        return call
