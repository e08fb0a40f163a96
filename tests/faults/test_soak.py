import sys
from pathlib import Path

import pytest

from tests.faults.judging import judge
from tests.faults.soak import SAMPLES, run

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs the memory and the files of processes as files"),
]
LEAKING = [sys.executable, "-m", "tests.faults.leaking_server"]


async def test_mixed_load_with_faults_leaves_nothing_behind_and_nobody_without_an_answer(tmp_path: Path) -> None:
    outcome = await run(tmp_path / "data" / "keys.db", operations=4_000)
    verdict = await judge(tmp_path / "data" / "keys.db", outcome.history)
    assert outcome.complaints() == []
    assert not verdict.wrong, verdict
    assert outcome.faults >= 8
    assert len(outcome.samples) == SAMPLES


async def test_a_server_that_leaves_something_behind_is_found_out(tmp_path: Path) -> None:
    outcome = await run(tmp_path / "data" / "keys.db", operations=4_000, program=LEAKING)
    found = " ".join(outcome.complaints())  # and whatever else comes of it
    assert "files were open in the middle" in found
    assert "bytes in the middle" in found
