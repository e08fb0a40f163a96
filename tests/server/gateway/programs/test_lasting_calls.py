"""Calls that go on between the requests of their client."""

from typing import TYPE_CHECKING, cast

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputResponse

from mcp_keys_server.server.gateway.programs.lasting_calls import MOST_PARKED, LastingCall, Message, ParkedCalls

if TYPE_CHECKING:
    from mcp_keys_server.server.gateway.programs.questions import Context

pytestmark = pytest.mark.anyio

NO_CONTEXT = cast("Context", None)  # which is for others to look at
QUESTION = ElicitRequest(
    params=ElicitRequestFormParams(message="Well?", requested_schema={"type": "object", "properties": {}})
)
YES = {"inputResponses": {"question": {"action": "accept", "content": {}}}}


class Asking:
    """The work of a call that asks once."""

    def __init__(self, *, seconds_to_answer: float = 60) -> None:
        self.call = LastingCall(NO_CONTEXT, seconds_to_answer=seconds_to_answer)
        self.given: InputResponse | None = None
        self.over = anyio.Event()

    async def work(self) -> Message:
        try:
            self.given = await self.call.ask(QUESTION)
            return {"done": True}
        finally:
            self.over.set()


async def parked(asking: Asking, calls: ParkedCalls) -> Message:
    news = await asking.call.news()
    assert not isinstance(news, dict)
    return calls.park(asking.call, news)


async def test_an_answer_takes_the_call_up_where_it_stands() -> None:
    asking, calls = Asking(), ParkedCalls()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asking.call.run, asking.work)
        asked = await parked(asking, calls)
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"]["question"]["params"]["message"] == "Well?"
        taken_up = calls.take_up({"requestState": asked["requestState"], **YES})
        assert taken_up is asking.call
        taken_up.answer(YES["inputResponses"]["question"])  # a second one changes nothing
        assert await taken_up.news() == {"done": True}
    assert isinstance(asking.given, ElicitResult)
    with pytest.raises(MCPError, match="does not wait for an answer any more"):
        calls.take_up({"requestState": asked["requestState"], **YES})


@pytest.mark.parametrize("params", [{}, {"requestState": "an upstream's own"}, {"requestState": None}])
async def test_other_requests_begin_calls_of_their_own(params: Message) -> None:
    assert ParkedCalls().take_up(params) is None


@pytest.mark.parametrize("responses", [None, {}, {"question": {"action": "perhaps"}}, {"question": 7}])
async def test_one_that_is_answered_with_anything_else_is_given_up(responses: object) -> None:
    asking, calls = Asking(), ParkedCalls()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asking.call.run, asking.work)
        asked = await parked(asking, calls)
        with pytest.raises(MCPError, match="holds no answer to what was asked"):
            calls.take_up({"requestState": asked["requestState"], "inputResponses": responses})
        await asking.over.wait()
        with pytest.raises(MCPError, match="given up"):
            await asking.call.news()


async def test_whoever_stops_to_wait_gives_the_call_up() -> None:
    call, over = LastingCall(NO_CONTEXT), anyio.Event()

    async def work() -> Message:
        try:
            await anyio.sleep_forever()
        finally:
            over.set()
        return {}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run, work)
        with anyio.move_on_after(0.01):
            await call.news()
        await over.wait()


async def test_what_goes_wrong_is_told_to_whoever_waits() -> None:
    call = LastingCall(NO_CONTEXT)

    async def work() -> Message:
        raise MCPError(-32000, "it went wrong")

    await call.run(work)
    with pytest.raises(MCPError, match="it went wrong"):
        await call.news()


async def test_a_question_that_nobody_answers_ends() -> None:
    asking = Asking(seconds_to_answer=0.01)
    await asking.call.run(asking.work)
    await asking.call.news()
    with pytest.raises(MCPError, match="Nobody answered in time"):
        await asking.call.news()


async def test_for_one_too_many_the_oldest_is_given_up() -> None:
    calls, all_asking = ParkedCalls(), [Asking() for _ in range(MOST_PARKED + 1)]
    async with anyio.create_task_group() as tasks:
        for asking in all_asking:
            tasks.start_soon(asking.call.run, asking.work)
            await parked(asking, calls)
        await all_asking[0].over.wait()
        assert not any(asking.over.is_set() for asking in all_asking[1:])
        tasks.cancel_scope.cancel()
