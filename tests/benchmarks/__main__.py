"""``python -m tests.benchmarks [PART ...] [--json FILE]``: measure, and print one table."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import Effort
from tests.benchmarks.conditions import conditions
from tests.benchmarks.parts import PARTS, measure
from tests.benchmarks.progress import Progress
from tests.benchmarks.table import table
from tests.databases import stop_servers


def main(arguments: Sequence[str], effort: Effort) -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Measure, and print one table.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args(arguments)
    for name in asked.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are: {', '.join(PARTS)}")
    about = conditions(arguments, effort)
    with TemporaryDirectory() as folder:
        rows = measure(asked.parts or list(PARTS), effort, Path(folder), Progress(sys.stderr))
    sys.stdout.write(table(rows) + "\n" + "".join(f"{name}: {text}\n" for name, text in about.items()))
    if asked.json is not None:
        result = {"conditions": about, "rows": [asdict(row) for row in rows]}
        asked.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Effort())
    finally:
        stop_servers()
