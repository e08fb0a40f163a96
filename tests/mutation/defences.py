"""Takes one defence after the other out of a copy of the package and looks whether the tests that are named for it in
the README's table of threats notice.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import mcp_keys_server

ROOT: Final = Path(mcp_keys_server.__file__).resolve().parent.parent
KNOWN: Final = Path(__file__).with_name("defences.toml")
COPIED: Final = ("mcp_keys_server", "tests", "pyproject.toml", "README.md")
OF_OTHERS: Final = ("PYTEST_", "COV", "PYTHONPATH")
OPTIONS: Final = ("-p", "no:cacheprovider", "--hypothesis-seed=0")
SECONDS: Final = 600
"""For one test: what hangs without a defence notices that it is gone."""
NOTICED: Final = "noticed"
_TOLD: Final = re.compile(r"^(tests/.+?) ((?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b)", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """What stands in a module of the package, once, and what stands there without the defence."""

    module: str
    was: str
    is_now: str


@dataclass(frozen=True)
class Defence:
    threat: int
    without: str
    changes: tuple[Change, ...]
    """More than one where each alone would leave another defence against the same."""
    tests: tuple[str, ...]
    """Each of which has to notice."""


def known(path: Path = KNOWN) -> list[Defence]:
    return [
        Defence(it["threat"], it["without"], tuple(Change(**each) for each in it["changes"]), tuple(it["tests"]))
        for it in tomllib.loads(path.read_text())["defence"]
    ]


class Copy:
    """Of all that its tests need, so that servers that they start are of the package in it, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)
        of_ours = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
        self._environment = of_ours | {"PYTHONPATH": str(folder), "MCP_KEYS_TEST_NO_SKIPS": "1"}
        where = self._python("-c", "import mcp_keys_server, tests; print(mcp_keys_server.__file__, tests.__file__)")
        assert all(Path(it).is_relative_to(folder) for it in where[1].split()), where

    def passing(self, tests: Sequence[str]) -> set[str]:
        """Those that are there and pass as it is, with all their parameters, and are not left out."""
        code, said = self._python("-m", "pytest", "-v", *OPTIONS, *tests, seconds=None)
        if code not in (0, 1):  # then none was run, because of one that is not there
            sys.stderr.write(said[-2000:])
        told = _TOLD.findall(said)
        runs = {test: {word for one, word in told if one == test or one.startswith(f"{test}[")} for test in tests}
        return {test for test, words in runs.items() if words == {"PASSED"}}

    def outcome(self, defence: Defence, test: str) -> str:
        """What this test says without the defence."""
        with self._without(defence) as trouble:
            return trouble or self._noticed(test)

    @contextmanager
    def _without(self, defence: Defence) -> Iterator[str | None]:
        """The trouble with it, if there is any."""
        before: dict[Path, str] = {}
        trouble = None
        for change in defence.changes:
            path = self._folder / "mcp_keys_server" / change.module
            text = path.read_text()
            before.setdefault(path, text)
            if text.count(change.was) != 1:
                trouble = f"the text is not there once: {change.module}"
            _write(path, text.replace(change.was, change.is_now))
        try:
            yield trouble
        finally:
            for path, text in before.items():
                _write(path, text)

    def _noticed(self, test: str) -> str:
        code, said = self._python("-m", "pytest", "-q", "-x", *OPTIONS, test)
        if code is None:
            return f"{NOTICED}: it hangs"
        if code == 1:
            why = re.findall(r"^(?:E  +|[ |]+\| (?=\w+: )|FAILED .* - |ERROR .* - )(.+)", said, re.MULTILINE) or [""]
            return f"{NOTICED}: {why[0][:110]}"
        return "not noticed" if code == 0 else f"there is nothing to be tested any more: {said[-500:]}"

    def _python(self, *arguments: str, seconds: float | None = SECONDS) -> tuple[int | None, str]:
        pipe, command = subprocess.PIPE, [sys.executable, *arguments]
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )
        try:
            said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what its tests have started and left
            process.wait()
        return process.returncode, said


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    # Because it is told to be of this text by its time and size, in whole seconds.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)


def hold(defences: Sequence[Defence]) -> int:
    """Tells of each what each of its tests says, and how many were not noticed by all of them."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder).resolve())
        passing = copy.passing(sorted({test for defence in defences for test in defence.tests}))
        for defence in defences:
            for test in defence.tests:
                does_not = "the test does not pass without the change"
                outcome = copy.outcome(defence, test) if test in passing else does_not
                sys.stdout.write(f"{defence.threat} {defence.without}: {test.partition('::')[2]}: {outcome}\n")
                sys.stdout.flush()
                missed += not outcome.startswith(NOTICED)
    sys.stdout.write(f"{len(defences)} defences taken out, {missed} times not noticed\n")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.defences", description=__doc__)
    parser.add_argument("threats", nargs="*", type=int, help="Numbers of the README's table; without any: all.")
    parser.add_argument("--match", default="", help="Only those in whose words this regular expression is found.")
    parser.add_argument("--known", type=Path, default=KNOWN, help="A file of defences.")
    asked = parser.parse_args()
    chosen = [it for it in known(asked.known) if not asked.threats or it.threat in asked.threats]
    return 1 if hold([it for it in chosen if re.search(asked.match, it.without)]) else 0


if __name__ == "__main__":
    sys.exit(main())
