"""Whether something has become slower: by ratios within one run, and never by an absolute time."""

from collections.abc import Callable, Sequence
from typing import Final

from tests.benchmarks.figures import Row

MARGIN: Final = 1.2
"""What a ratio may be worse than both its goal and what was recorded."""
TRIES: Final = 4
"""What fails is measured three times more, because a machine that others use is slower at times."""


def regressions(rows: Sequence[Row], recorded: Sequence[Row]) -> Sequence[Row]:
    """Those whose ratio is worse, by more than the margin, than their goal and than it was."""
    before = {row.identity: row.ratio.median for row in recorded}
    return [row for row in rows if _is_worse(row, before.get(row.identity))]


def lasting_regressions(
    parts: Sequence[str], measure: Callable[[str], Sequence[Row]], recorded: Sequence[Row]
) -> Sequence[Row]:
    """The rows that are worse each time that their part is measured, as they were the last time."""
    return [row for part in parts for row in _lasting(part, measure, recorded)]


def _lasting(part: str, measure: Callable[[str], Sequence[Row]], recorded: Sequence[Row]) -> Sequence[Row]:
    worse = regressions(measure(part), recorded)
    for _ in range(TRIES - 1):
        if not worse:
            break
        still = {row.identity for row in worse}
        worse = [row for row in regressions(measure(part), recorded) if row.identity in still]
    return worse


def _is_worse(row: Row, before: float | None) -> bool:
    if row.goal is None or row.goal.is_absolute:
        return False
    ratio, goal = row.ratio.median, row.goal.ratio
    known = goal if before is None else before
    return ratio < min(goal, known) / MARGIN if row.goal.at_least else ratio > max(goal, known) * MARGIN
