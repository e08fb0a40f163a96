import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.bench import Effort
from tests.benchmarks.parts import PARTS
from tests.databases import has_postgres

SHORT = Effort(
    bcrypt_cost=4,
    rounds=1,
    calls=100,
    seconds=0.05,
    connections=2,
    hop_seconds=0.05,
    usage_seconds=0.05,
    storm_cost=4,
    storm_seconds=0.05,
    long_rounds=1,
    cold_users=20,
    few_keys=10,
    many_keys=1_000,
    remembered_keys=1_000,
)


def test_a_run_prints_a_row_for_everything_that_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "figures.json"
    main([*PARTS, "--json", str(report)], SHORT)
    printed = capsys.readouterr().out
    measured = [(row["what"], row["compared_with"]) for row in json.loads(report.read_text("utf-8"))["rows"]]
    rows = [line.split("|")[1:4:2] for line in printed.splitlines() if line.startswith("| ")][2:]
    assert [(what.strip(), compared_with.strip()) for what, compared_with in rows] == measured
    names = [what.partition(",")[0] for what, _ in measured]
    assert names == [
        *["warm verification"] * (2 + has_postgres()),
        *["cold verification"] * 2,
        "the first use of a key after a restart",
        *["forged key refused"] * 2,
        *["a key created", "memory for each of 1"],
        *["tool call"] * 6 * (1 + has_postgres()),
        *["tool call"] * 2,
        "forged key over HTTP",
        *["cold keys over HTTP: requests", "cold keys beside warm calls: requests"],
        *["warm calls beside cold keys: requests", "warm calls beside cold keys: 99th percentile of a request"],
        *["20 users at once after a restart"] * 2,
        *["tool call on serve"] * (4 + 1),
        *["stdio"] * 2,
        *["through the gateway"] * (4 * 11 + 4 * 7),
        *["look-up of a key among 1"] * (1 + has_postgres()),
    ]
    assert "command: python -m tests.benchmarks" in printed
    assert "machine: " in printed
    assert "versions: " in printed


def test_an_unknown_part_is_named_together_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["hot"], SHORT)
    assert stopped.value.code == 2
    assert "'hot'; there are: warm, warm-postgres, cold, " in capsys.readouterr().err
