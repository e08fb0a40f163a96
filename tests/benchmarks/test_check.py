import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.check import TRIES, lasting_regressions, regressions
from tests.benchmarks.figures import Goal, Row
from tests.benchmarks.made_up_rows import row
from tests.benchmarks.report import Report

AT_MOST_2 = Goal(1, 2, at_least=False)
AT_LEAST_2 = Goal(2, 2, at_least=True)
ABSOLUTE = Goal(3, 2, at_least=False, is_absolute=True)


@pytest.mark.parametrize(
    ("ratio", "goal", "recorded", "is_worse"),
    [
        (2.39, AT_MOST_2, 1.0, False),  # the goal is met within the margin
        (2.41, AT_MOST_2, 1.0, True),
        (3.59, AT_MOST_2, 3.0, False),  # it never was, but no worse than it was
        (3.61, AT_MOST_2, 3.0, True),
        (2.41, AT_MOST_2, None, True),  # a new row
        (1.67, AT_LEAST_2, 3.0, False),
        (1.66, AT_LEAST_2, 3.0, True),
        (0.84, AT_LEAST_2, 1.0, False),
        (0.83, AT_LEAST_2, 1.0, True),
        (1.66, AT_LEAST_2, None, True),
        (99, None, 1.0, False),  # it is only told
        (99, ABSOLUTE, 1.0, False),
    ],
)
def test_a_ratio_is_worse_than_both_its_goal_and_what_it_was_by_more_than_a_fifth(
    ratio: float, goal: Goal | None, recorded: float | None, *, is_worse: bool
) -> None:
    before = [] if recorded is None else [row(recorded, goal)]
    measured = row(ratio, goal)
    assert regressions([measured], before) == ([measured] if is_worse else [])


class Measuring:
    """Gives ratios one after the other, a list of them each time that the part is measured."""

    def __init__(self, *ratios: Sequence[float]) -> None:
        self._ratios = iter(ratios)
        self.measured: list[str] = []

    def __call__(self, part: str) -> Sequence[Row]:
        self.measured.append(part)
        return [row(ratio, AT_MOST_2, what=f"row {number}") for number, ratio in enumerate(next(self._ratios))]


def test_what_is_worse_once_is_measured_again_and_nothing_else_is() -> None:
    measuring = Measuring([1, 1], [1, 9], [1, 1])
    assert lasting_regressions(["a", "b"], measuring, []) == []
    assert measuring.measured == ["a", "b", "b"]


def test_only_a_row_that_is_worse_each_time_counts() -> None:
    measuring = Measuring([9, 9], [9, 1], [9, 9], [9, 9])
    (worse,) = lasting_regressions(["a"], measuring, [])
    assert worse.what == "row 0"
    assert len(measuring.measured) == TRIES == 4


def test_rows_that_are_worse_in_turns_are_noise() -> None:
    measuring = Measuring([9, 1], [1, 9])
    assert lasting_regressions(["a"], measuring, []) == []
    assert len(measuring.measured) == 2


def test_a_run_is_checked_again_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded, slower = tmp_path / "recorded.json", tmp_path / "slower.json"
    Report({"machine": "made up"}, [row(1, AT_MOST_2), row(5, None, what="told")]).write(recorded)
    Report({"machine": "made up"}, [row(3, AT_MOST_2), row(50, None, what="told")]).write(slower)
    assert main(["--from", str(recorded), "--check", str(recorded)]) == 0
    assert main(["--from", str(slower), "--check", str(recorded)]) == 1
    assert capsys.readouterr().err == "this has become slower: 3 times that\n"


def test_a_report_is_read_as_it_was_written_and_of_two_the_last_row_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Report({"machine": "one"}, [row(1, AT_MOST_2), row(2, None, what="other", peer="peer")])
    second = Report({"machine": "two"}, [row(7, AT_MOST_2)])
    for name, report in (("first", first), ("second", second)):
        report.write(tmp_path / name)
        assert Report.read(tmp_path / name) == report
    both = tmp_path / "both"
    assert main(["--from", str(tmp_path / "first"), "--from", str(tmp_path / "second"), "--json", str(both)]) == 0
    assert "machine (1): one\nmachine (2): two\n" in capsys.readouterr().out
    assert Report.read(both).rows == [second.rows[0], first.rows[1]]
    assert json.loads(both.read_text("utf-8"))["conditions"] == {"machine (1)": "one", "machine (2)": "two"}


def test_a_goal_is_met_or_not_and_a_row_without_one_neither() -> None:
    assert [one.is_met for one in (row(2, AT_MOST_2), row(2.1, AT_MOST_2))] == [True, False]
    assert [one.is_met for one in (row(2, AT_LEAST_2), row(1.9, AT_LEAST_2))] == [True, False]
    assert replace(row(2, AT_MOST_2), goal=None).is_met is None
