"""A run as it is kept in a file: its rows, and under which conditions they were measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Goal, Quantity, Row, Spread

Conditions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    conditions: Conditions
    rows: Sequence[Row]

    def write(self, path: Path) -> None:
        content = {"conditions": self.conditions, "rows": [asdict(row) for row in self.rows]}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Report":
        content = json.loads(path.read_text("utf-8"))
        return cls(content["conditions"], [_row(row) for row in content["rows"]])


def merged(reports: Sequence[Report]) -> Report:
    """All rows of all of them; of one that several have, the last."""
    rows = {row.identity: row for report in reports for row in report.rows}
    if len(reports) == 1:
        return Report(reports[0].conditions, list(rows.values()))
    conditions = {
        f"{name} ({number})": text
        for number, report in enumerate(reports, 1)
        for name, text in report.conditions.items()
    }
    return Report(conditions, list(rows.values()))


def _row(content: Mapping[str, Any]) -> Row:
    goal = content.get("goal")
    return Row(
        what=content["what"],
        quantity=Quantity(content["quantity"]),
        measured=Spread(**content["measured"]),
        compared_with=content["compared_with"],
        reference=Spread(**content["reference"]),
        ratio=Spread(**content["ratio"]),
        goal=None if goal is None else Goal(**goal),
        rounds_run=content["rounds_run"],
        rounds_kept=content["rounds_kept"],
        rounds_quiet=content["rounds_quiet"],
        peer=content.get("peer"),
    )
