from pathlib import Path

import pytest

from tests.faults.power_cuts import KEPT, PowerCuts, synchronous

pytestmark = pytest.mark.anyio
SEED = "the tests'"


@pytest.mark.parametrize("kept", KEPT)
async def test_what_was_acknowledged_outlasts_losses_of_power(kept: float, tmp_path: Path) -> None:
    outcome = await PowerCuts(tmp_path, kept=kept, seed=SEED).run(15)
    assert not outcome.bad_rounds, (outcome.verdict.wrong, outcome.histories)
    assert outcome.verdict.acknowledged > 15 * 10
    assert outcome.verdict.unknown


async def test_a_database_that_does_not_sync_each_commit_is_found_out(tmp_path: Path) -> None:
    """That nothing is found with the product's own setting means something."""
    outcome = await PowerCuts(tmp_path, kept=0.5, seed=SEED, instead=synchronous("NORMAL")).run(20)
    assert outcome.bad_rounds / outcome.rounds >= 0.3
    assert outcome.verdict.lost_creates + outcome.verdict.lost_secrets
    assert outcome.verdict.undone_ends


async def test_a_database_that_never_syncs_is_found_damaged(tmp_path: Path) -> None:
    outcome = await PowerCuts(tmp_path, kept=0.5, seed=SEED, instead=synchronous("OFF")).run(5)
    assert outcome.verdict.problems


async def test_a_database_without_transactions_is_found_with_half_a_change(tmp_path: Path) -> None:
    one_by_one = {"BEGIN IMMEDIATE": "SELECT 1", "COMMIT": "SELECT 1"}
    outcome = await PowerCuts(tmp_path, kept=0, seed=SEED, instead=one_by_one).run(10)
    assert outcome.verdict.untold
