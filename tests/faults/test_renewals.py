import sys
from pathlib import Path

import pytest

from tests.faults.judging import judge
from tests.faults.renewals import run

pytestmark = pytest.mark.anyio
BLIND = [sys.executable, "-m", "tests.faults.blind_server"]


async def test_costs_are_raised_and_secrets_replaced_under_load_and_no_good_key_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "data" / "keys.db"
    outcome = await run(database, cost_before=4, cost=5, replacements=1)
    verdict = await judge(database, outcome.history)
    assert outcome.complaints() == []
    assert not verdict.wrong, (verdict, outcome.history.keep(tmp_path / "history.json"))
    assert (outcome.replaced, outcome.cheap_hashes) == (1, 0)
    assert verdict.acknowledged


async def test_a_server_that_does_not_look_which_secrets_there_are_is_found_out(tmp_path: Path) -> None:
    outcome = await run(tmp_path / "data" / "keys.db", cost_before=4, cost=5, replacements=1, program=BLIND)
    assert "good keys were refused" in outcome.complaints()[-1]
