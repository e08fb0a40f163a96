from typing import TypeVar

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.core.changes import Decide, Decision, Holdings
from mcp_keys_server.stores.sql.store import SqlStore
from tests.faults.outages import judge
from tests.faults.terminations import run
from tests.postgres_server import a_postgres_server, needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]
Result = TypeVar("Result")


async def test_connections_that_are_ended_at_random_lose_nothing_and_let_nobody_in() -> None:
    with a_postgres_server() as server:
        history = await run(server, operations=300, terminations=25)
        verdict = await judge(server.url(), history)
    assert verdict.is_good, (verdict, history.wrong_answers, history.keep())
    assert (verdict.faults, verdict.unknown > 0) == (25, True)


async def test_who_acknowledges_what_was_decided_and_not_what_was_committed_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change = SqlStore.change

    async def hasty(self: SqlStore, user_id: str, decide: Decide[Result]) -> Result:
        answers: list[Result] = []

        def noted(holdings: Holdings) -> Decision[Result]:
            decision = decide(holdings)
            answers.append(decision.answer)
            return decision

        try:
            return await change(self, user_id, noted)
        except StoreUnavailableError:
            if not answers:
                raise
            return answers[-1]

    monkeypatch.setattr(SqlStore, "change", hasty)
    with a_postgres_server() as server:
        history = await run(server, operations=150, terminations=25)
        verdict = await judge(server.url(), history)
    assert verdict.lost + verdict.denied > 0
    assert not verdict.is_good
