import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from mcp_keys_server.stores.postgres.lookups import PostgresLookups
from mcp_keys_server.stores.sql.database import Row
from tests.faults.frozen import run
from tests.faults.outages import judge
from tests.postgres_server import a_postgres_server, needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]


async def test_while_the_server_stands_still_nobody_is_let_in_or_told_that_a_good_key_is_bad() -> None:
    with a_postgres_server() as server:
        history = await run(server, operations=200, freezes=1)
        verdict = await judge(server.url(), history)
    assert verdict.is_good, (verdict, history.wrong_answers, history.keep())
    assert (verdict.faults, verdict.unknown > 0, verdict.refusals_while_away > 0) == (1, True, True)


async def test_who_takes_no_answer_for_a_no_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = PostgresLookups.look_up

    async def found_or_not(self: PostgresLookups, prefix: str) -> Row | None:
        try:
            return await look_up(self, prefix)
        except StoreUnavailableError:
            return None

    monkeypatch.setattr(PostgresLookups, "look_up", found_or_not)
    monkeypatch.setattr(postgres_connecting, "SECONDS_FOR_A_STATEMENT", 1)
    with a_postgres_server() as server:
        history = await run(server, operations=60, freezes=1)
        verdict = await judge(server.url(), history)
    assert verdict.wrong_answers > 0
    assert not verdict.is_good
