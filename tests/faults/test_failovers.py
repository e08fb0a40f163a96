from types import SimpleNamespace

import asyncpg
import pytest

from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from tests.faults.failovers import Loss, a_pair, run
from tests.faults.outages import judge
from tests.postgres_server import needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]


async def test_what_was_acknowledged_outlives_its_primary_and_a_standby_is_asked_nothing() -> None:
    async with a_pair() as pair:
        history = await run(pair, Loss.KILLED, Loss.HUNG, operations=200)
        verdict = await judge(pair.url, history)
    assert verdict.is_good, (verdict, history.wrong_answers, history.keep())
    assert (verdict.faults, verdict.unknown > 0, verdict.refusals_while_away > 0) == (2, True, True)


async def test_a_standby_that_is_asked_or_does_not_have_what_was_acknowledged_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without synchronous replication, and without either of what keeps a standby from being asked: the choice of the
    driver, and that nobody can listen there."""

    async def no_matter(*_: object) -> None:
        pass

    monkeypatch.setattr(postgres_connecting, "SessionAttribute", SimpleNamespace(primary="any"))
    monkeypatch.setattr(asyncpg.Connection, "add_listener", no_matter)
    async with a_pair(synchronous=False) as pair:
        history = await run(pair, Loss.ALONE, operations=60)
        verdict = await judge(pair.url, history)
    assert verdict.lost > 0
    assert history.wrong_answers.keys() & {"good: 200", "revoked: 401"}
    assert not verdict.is_good
