import asyncio
from itertools import pairwise

import pytest

from mcp_keys_server.auth.loop_turns import MOST_AT_A_TURN, LoopTurns
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


def test_a_loop_that_ended_amid_them_leaves_nobody_waiting() -> None:
    turns = LoopTurns()

    async def leave_them() -> None:
        for _ in range(10 * MOST_AT_A_TURN):
            asyncio.create_task(turns.take())  # noqa: RUF006 - they are to be left
        await asyncio.sleep(0)

    asyncio.run(leave_them())
    asyncio.run(asyncio.wait_for(turns.take(), 60))


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
