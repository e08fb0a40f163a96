import logging

import pytest

from mcp_keys_server import KeyVerifier, Principal, TooBusyError
from mcp_keys_server.auth import line_budget
from mcp_keys_server.auth.line_budget import MOST_LINES, SECONDS, LineBudget
from mcp_keys_server.settings import Settings
from tests.server.conftest import client_of, started
from tests.world import World

pytestmark = pytest.mark.anyio
GUARD, BUDGET = "mcp_keys_server.auth.guard", "mcp_keys_server.auth.line_budget"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    set_by_hand = Clock()
    monkeypatch.setattr(line_budget, "monotonic", set_by_hand)
    return set_by_hand


async def test_a_network_has_so_many_lines_and_one_that_says_so(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    budget = LineBudget()
    assert [budget.take("192.0.2.1") for _ in range(MOST_LINES + 3)] == [True] * MOST_LINES + [False] * 3
    assert budget.take("192.0.2.2")
    said = [line for name, level, line in caplog.record_tuples if (name, level) == (BUDGET, logging.WARNING)]
    assert said == ["refused: very many client=192.0.2.1; those of the next 60 seconds are not logged"]
    clock.now += SECONDS
    assert budget.take("192.0.2.1")


async def test_very_many_networks_take_no_more_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    del clock
    monkeypatch.setattr(line_budget, "MOST_NETWORKS", 3)
    budget = LineBudget()
    for number in range(10):
        assert budget.take(f"192.0.2.{number}")
    assert len(budget._lines) <= 3


async def test_requests_without_a_key_and_those_that_have_to_wait_do_not_fill_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await world.key()

    async def too_busy(
        self: KeyVerifier, presented: str, *, client: str | None = None, over_socket: bool = False
    ) -> Principal:
        del self, presented, client, over_socket
        raise TooBusyError

    monkeypatch.setattr(KeyVerifier, "verify", too_busy)
    caplog.clear()
    async with started(world, Settings()) as app, client_of(app) as http:
        for status, headers in (
            (401, {}),
            (400, {"X-API-Key": "a", "Authorization": "Bearer b"}),
            (503, {"X-API-Key": key.reveal()}),
        ):
            answers = [await http.post("/u/ada/keys/mcp", headers=headers) for _ in range(50)]
            assert {answer.status_code for answer in answers} == {status}
    lines = [name for name, _, _ in caplog.record_tuples if name in (GUARD, BUDGET)]
    assert (lines.count(GUARD), lines.count(BUDGET)) == (MOST_LINES, 1)
