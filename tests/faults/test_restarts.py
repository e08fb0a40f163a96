import pytest

from mcp_keys_server.stores.postgres import schema as postgres_schema
from tests.faults.outages import judge
from tests.faults.restarts import run
from tests.postgres_server import a_postgres_server, needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]


async def test_what_was_acknowledged_outlives_restarts_and_what_was_not_opens_nothing() -> None:
    with a_postgres_server() as server:
        history = await run(server, operations=1_200, restarts=4)
        verdict = await judge(server.url(), history)
    assert verdict.is_good, (verdict, history.keep())
    assert (verdict.faults, verdict.acknowledged >= 1_200, verdict.unknown > 0) == (4, True, True)


async def test_a_server_that_forgets_what_it_has_confirmed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what refuses it: that this finds nothing in a good one means something."""

    async def let_through(*_: object) -> None:
        pass

    monkeypatch.setattr(postgres_schema, "_check_server", let_through)
    with a_postgres_server({"synchronous_commit": "off", "wal_writer_delay": "10s"}) as server:
        history = await run(server, operations=600, restarts=3)
        verdict = await judge(server.url(), history)
    assert not verdict.is_good
    assert verdict.lost > 0
