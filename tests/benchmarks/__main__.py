"""``python -m tests.benchmarks [PART ...]``: measure, and print one table."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import SHORT, Effort
from tests.benchmarks.check import lasting_regressions, regressions
from tests.benchmarks.conditions import conditions
from tests.benchmarks.figures import Row
from tests.benchmarks.parts import CHECKED, PARTS, PEER_PARTS, measure
from tests.benchmarks.peers.environment import Peers, PeersMissingError, prepared_peers
from tests.benchmarks.plot import NoPlotError, draw
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import Report, merged
from tests.benchmarks.table import goals_table, table
from tests.databases import stop_servers

_KNOWN = [*PARTS, *PEER_PARTS]


def main(arguments: Sequence[str], effort: Effort | None = None) -> int:
    """The exit code: 1 if something has become slower, or cannot be drawn."""
    asked = _asked(arguments)
    before = Report.read(asked.check).rows if asked.check else []
    if asked.sources:
        report = merged([Report.read(source) for source in asked.sources])
        worse = regressions(report.rows, before) if asked.check else []
    else:
        effort = effort or (SHORT if asked.short else Effort())
        about = conditions(arguments, effort)
        parts = asked.parts or (list(CHECKED) if asked.short else _KNOWN)
        rows, worse = _measured(parts, effort, before if asked.check else None)
        report = Report(about, rows)
    show = goals_table if asked.goals else table
    sys.stdout.write(
        show(report.rows) + "\n" + "".join(f"{name}: {text}\n" for name, text in report.conditions.items())
    )
    if asked.json:
        report.write(asked.json)
    for row in worse:
        sys.stderr.write(f"{row.what} has become slower: {row.ratio.median:.3g} times {row.compared_with}\n")
    is_drawn = asked.plot is None or _is_drawn(report.rows, asked.plot)
    return 1 if worse or not is_drawn else 0


def _asked(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser("python -m tests.benchmarks", description="Measure, and print one table.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(_KNOWN)}; all, if none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw ours beside the peers, as PNG and SVG, there")
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FILE",
        action="append",
        dest="sources",
        help="take the figures that --json wrote, and measure nothing; of a row that several have, the last",
    )
    parser.add_argument("--goals", action="store_true", help="only what has a goal, in few words, as in the README")
    parser.add_argument("--short", action="store_true", help=f"a few minutes: {', '.join(CHECKED)}, with fewer rounds")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="fail if a ratio is worse, by more than a fifth, than both its goal and what --json wrote there before",
    )
    asked = parser.parse_args(arguments)
    for name in asked.parts:
        if name not in _KNOWN:
            parser.error(f"there is no part {name!r}; there are: {', '.join(_KNOWN)}")
    if asked.parts and asked.sources:
        parser.error("--from measures nothing, so no part can be named with it")
    return asked


def _measured(
    parts: Sequence[str], effort: Effort, before: Sequence[Row] | None
) -> tuple[Sequence[Row], Sequence[Row]]:
    """All rows, and, if there are some from before, those that have become worse."""
    progress = Progress(sys.stderr, len(parts))
    peers = _peers(progress) if set(parts) & set(PEER_PARTS) else None
    rows = {}
    with TemporaryDirectory() as folder:
        measuring = partial(measure, effort=effort, folder=Path(folder), progress=progress, peers=peers)

        def kept(part: str) -> Sequence[Row]:
            rows[part] = measuring(part)
            return rows[part]

        if before is None:
            for part in parts:
                kept(part)
        worse = [] if before is None else lasting_regressions(parts, kept, before)
    progress.clear()
    return [row for part in rows.values() for row in part], worse


def _peers(progress: Progress) -> Peers | None:
    try:
        return prepared_peers(progress)
    except PeersMissingError as error:
        progress.clear()
        sys.stderr.write(f"Left out: {', '.join(PEER_PARTS)}, because {error}\n")
        return None


def _is_drawn(rows: Sequence[Row], folder: Path) -> bool:
    try:
        paths = draw(rows, folder)
    except NoPlotError as error:
        sys.stderr.write(f"{error}\n")
        return False
    sys.stdout.write("".join(f"plot: {path}\n" for path in paths))
    return True


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        stop_servers()
