"""What a long run tells, while it goes on and in the end."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.history import History


def tell(progress: str) -> None:
    """In the place of what was told before, for whoever sits before a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{progress} ")
        sys.stderr.flush()


def give(report: Mapping[str, object], out: Path | None) -> None:
    """Print it and, if there is to be one, write it to a file."""
    text = f"{json.dumps(report, indent=2)}\n"
    sys.stdout.write(text)
    if out is not None:
        out.write_text(text)


def tidied(folder: Path, history: History, *, is_bad: bool) -> int:
    """The exit code; of a bad run the folder is kept, with the history in it."""
    if is_bad:
        sys.stdout.write(f"what is left of it is in {folder}: {history.keep(folder / 'history.json')}\n")
        return 1
    shutil.rmtree(folder)
    return 0
