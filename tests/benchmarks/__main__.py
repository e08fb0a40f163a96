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
from tests.benchmarks.parts import PARTS, PEER_PARTS, measure
from tests.benchmarks.peers.environment import Peers, PeersMissingError, prepared_peers
from tests.benchmarks.progress import Progress
from tests.benchmarks.table import table
from tests.databases import stop_servers


def main(arguments: Sequence[str], effort: Effort) -> None:
    known = [*PARTS, *PEER_PARTS]
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description="Measure, and print one table.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(known)}; all, if none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args(arguments)
    for name in asked.parts:
        if name not in known:
            parser.error(f"there is no part {name!r}; there are: {', '.join(known)}")
    parts = asked.parts or known
    progress = Progress(sys.stderr)
    peers = _peers(progress) if set(parts) & set(PEER_PARTS) else None
    about = conditions(arguments, effort)
    with TemporaryDirectory() as folder:
        rows = measure(parts, effort, Path(folder), progress, peers)
    sys.stdout.write(table(rows) + "\n" + "".join(f"{name}: {text}\n" for name, text in about.items()))
    if asked.json is not None:
        result = {"conditions": about, "rows": [asdict(row) for row in rows]}
        asked.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _peers(progress: Progress) -> Peers | None:
    try:
        return prepared_peers(progress)
    except PeersMissingError as error:
        progress.clear()
        sys.stderr.write(f"Left out, because {error}: {', '.join(PEER_PARTS)}\n")
        return None


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Effort())
    finally:
        stop_servers()
