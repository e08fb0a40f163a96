"""What a long run tells, while it goes on and in the end."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path


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
