import sys
from pathlib import Path

import pytest

from tests.faults.judging import judge
from tests.faults.kills import run

pytestmark = pytest.mark.anyio
ATTEMPTS = 6
"""Where the machine is busy, it may have committed by the time that it is killed."""
HASTY = [sys.executable, "-m", "tests.faults.hasty_server"]


async def test_what_was_acknowledged_outlives_whoever_is_killed(tmp_path: Path) -> None:
    database = tmp_path / "keys.db"
    outcome = await run(database, operations=1_500, rounds=6)
    verdict = await judge(database, outcome.history)
    assert not verdict.wrong, (verdict, outcome.history.keep(tmp_path / "history.json"))
    assert outcome.killed == {"a worker": 4, "all": 1, "the keeper": 1}
    assert verdict.acknowledged >= 1_500
    assert verdict.unknown


async def test_a_server_that_answers_before_it_commits_is_found_out(tmp_path: Path) -> None:
    """That nothing is found with the real one means something."""
    for attempt in range(ATTEMPTS):
        database = tmp_path / f"{attempt}" / "keys.db"
        outcome = await run(database, operations=60, rounds=0, program=HASTY)
        verdict = await judge(database, outcome.history)
        if verdict.lost_creates + verdict.lost_secrets + verdict.undone_ends:
            return
    pytest.fail("whenever it was killed, it had committed what it had answered")
