import asyncio
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from mcp_keys_server.auth import loop_turns
from mcp_keys_server.auth.loop_turns import LONGEST_PAUSE, MOST_AT_A_TURN, LoopTurns
from mcp_keys_server.settings import Settings
from tests.server.conftest import client_of, started
from tests.world import World


@pytest.mark.anyio
async def test_a_few_are_let_through_at_each_turn_in_the_order_in_which_they_came() -> None:
    turns, through = LoopTurns(), list[int]()
    seen: list[int] = []

    async def take(number: int) -> None:
        await turns.take()
        through.append(number)

    tasks = [asyncio.create_task(take(number)) for number in range(100)]
    while len(through) < 100:
        await asyncio.sleep(0)
        seen.append(len(through))
    assert through == list(range(100))
    assert {later - earlier for earlier, later in pairwise(seen)} <= {*range(MOST_AT_A_TURN + 1)}
    await asyncio.gather(*tasks)


@pytest.mark.anyio
async def test_who_goes_before_their_turn_delays_nobody() -> None:
    turns = LoopTurns()
    tasks = [asyncio.create_task(turns.take()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(tasks[0], tasks[2])
    assert tasks[1].cancelled()


@pytest.mark.parametrize("cancels", [True, False])
def test_a_loop_that_ended_amid_them_leaves_nobody_waiting(*, cancels: bool) -> None:
    turns, waiting = LoopTurns(), list[asyncio.Task[None]]()

    async def leave_them() -> None:
        waiting.extend(asyncio.create_task(turns.take()) for _ in range(10 * MOST_AT_A_TURN))
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_them())
    if cancels:
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.wait(waiting))
    loop.set_exception_handler(lambda *_: None)  # which would be told that some were left
    loop.close()
    asyncio.run(asyncio.wait_for(turns.take(), 60))


@pytest.mark.anyio
@pytest.mark.parametrize(("worked", "pause"), [(0.001, 0.001), (1.0, LONGEST_PAUSE)])
async def test_while_somebody_is_preferred_there_is_a_pause_as_long_as_the_work_before_it(
    monkeypatch: pytest.MonkeyPatch, worked: float, pause: float
) -> None:
    loop, pauses, moments = asyncio.get_running_loop(), list[float](), count(step=worked)
    call_later = loop.call_later

    def noting(seconds: float, work: Callable[..., object], *given: object) -> asyncio.TimerHandle:
        pauses.append(round(seconds, 9))
        return call_later(0, work, *given)

    monkeypatch.setattr(loop, "call_later", noting)
    monkeypatch.setattr(loop_turns, "thread_time", lambda: next(moments))
    turns = LoopTurns()
    await asyncio.gather(*(turns.take() for _ in range(3 * MOST_AT_A_TURN)))
    assert pauses == []
    with turns.preferred():
        await asyncio.gather(*(turns.take() for _ in range(3 * MOST_AT_A_TURN)))
        for _ in range(3):  # a few at a time as well
            await turns.take()
    assert pauses[:5] == [pause] * 5
    await settled()
    pauses.clear()
    with turns.preferred() as has_begun:
        has_begun()
        await asyncio.gather(*(turns.take() for _ in range(3 * MOST_AT_A_TURN)))
    assert pauses == []


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_a_good_key_waits_for_no_more_than_a_few_of_very_many_refusals(world: World) -> None:
    _, key = await world.key()
    async with started(world, Settings()) as app, client_of(app) as http:
        answered: list[int] = []

        async def ask(headers: dict[str, str]) -> None:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            answered.append((await http.post("/u/ada/keys/mcp", headers=headers, json=body)).status_code)

        good = {"X-API-Key": key.reveal(), "Accept": "application/json"}
        await ask(good)
        bad = [asyncio.create_task(ask({"X-API-Key": "bad"})) for _ in range(500)]
        await ask(good)
        await asyncio.gather(*bad)
    first, *then = answered
    assert first == 200
    assert then.index(200) < 200
