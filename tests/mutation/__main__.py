"""Makes one slip after the other in the package and looks which of them no test notices."""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.survivors import unexplained
from tests.mutation.trials import ENOUGH_SECONDS, Outcomes, Trials
from tests.postgres_server import POSTGRES_URL, PROGRAMS, a_postgres_server

TESTS = ["tests/core", "tests/auth", "tests/stores", "tests/test_asgi.py", "tests/cli/test_import.py"]


def main() -> int:
    asked = _asked()
    spec = find_spec("mcp_keys_server")
    assert spec
    assert spec.origin
    mutants = [it for module in _modules(asked.paths) for it in mutants_of(module) if re.search(asked.match, it.name)]
    if asked.again:
        lived = {name for _, name, outcome in json.loads(asked.again.read_text()) if outcome == "survived"}
        mutants = [mutant for mutant in mutants if mutant.name in lived]
    with tempfile.TemporaryDirectory() as folder, a_server_for_all():
        known, told = asked.known or Path(folder) / "known", Path(folder) / "told"
        tests = [*asked.tests, "-k", asked.keyword]
        trials = Trials(Path(spec.origin).parent, tests, asked.jobs, known, told, asked.only_anew, asked.enough)
        outcomes = trials.hold(mutants)
    if asked.out:
        asked.out.write_text(json.dumps([[*key, outcome] for key, outcome in sorted(outcomes.items())], indent=0))
    if asked.only_anew:
        mutants = [mutant for mutant in mutants if mutant.function is None]
    return _report(outcomes, mutants, only_some=bool(asked.match or asked.again or asked.only_anew))


@contextmanager
def a_server_for_all() -> Iterator[None]:
    """Or each process would have a PostgreSQL of its own, which goes on when that is killed."""
    if PROGRAMS is None or POSTGRES_URL in os.environ:
        yield
        return
    with a_postgres_server() as server:
        os.environ[POSTGRES_URL] = server.url()
        yield


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="Modules of the package, or folders of them.")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="Files and folders of tests, or single ones.")
    parser.add_argument("--keyword", default="not postgres", help="Which of them, as pytest's -k.")
    parser.add_argument("--match", default="", help="Only mutants in whose name this regular expression is found.")
    parser.add_argument("--again", type=Path, help="Only those that survived as this file of a run before tells.")
    parser.add_argument("--only-anew", action="store_true", help="Only those that need the package imported anew.")
    parser.add_argument("--enough", type=float, default=ENOUGH_SECONDS, help="Seconds of tests for one of them.")
    parser.add_argument("--known", type=Path, help="A file for what is known of the tests, which is used again.")
    parser.add_argument("--jobs", type=int, default=2, help="How many at once.")
    parser.add_argument("--out", type=Path, help="A file for what became of each.")
    return parser.parse_args()


def _modules(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.resolve().rglob("*.py")) if path.is_dir() else [path.resolve()]


def _report(outcomes: Outcomes, mutants: Sequence[Mutant], *, only_some: bool) -> int:
    for module in sorted({module for module, _ in outcomes}):
        sys.stdout.write(f"{module:40} {_counted([it for (of, _), it in outcomes.items() if of == module])}\n")
    sys.stdout.write(f"{len(outcomes)} mutants: {_counted(outcomes.values())}\n")
    wrong = list(unexplained(outcomes, only_some=only_some))
    sys.stdout.write("".join(f"{it}\n" for it in wrong))
    return 1 if wrong or len(outcomes) < len(mutants) else 0


def _counted(outcomes: Iterable[str]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(Counter(outcomes).items()))


if __name__ == "__main__":
    sys.exit(main())
