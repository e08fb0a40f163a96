"""What the harnesses have in common when they run for long: how they are asked, and how they tell what they found."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults.outages import History, Verdict


def asked_for(program: str, description: str | None, *, faults: int, operations: int) -> argparse.Namespace:
    """``faults``, ``operations`` and ``out``, as the command line has them or by default."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--faults", type=int, default=faults)
    parser.add_argument("--operations", type=int, default=operations, help="How many are acknowledged at the least.")
    parser.add_argument("--out", type=Path, help="A file for the verdict, and beside it the history of a bad run.")
    return parser.parse_args()


def tell(verdict: Verdict, history: History, out: Path | None) -> int:
    """The exit code; of a bad run the history is kept."""
    text = json.dumps(asdict(verdict), indent=2)
    sys.stdout.write(f"{text}\n")
    if out is not None:
        out.write_text(f"{text}\n")
    if verdict.is_good:
        return 0
    kept = history.keep(out and out.with_suffix(".history.json"))
    sys.stdout.write(f"The history is in {kept}\n")
    return 1
