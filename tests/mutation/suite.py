"""The tests, collected once: which of them run which lines, and whether they notice a mutant."""

import gc
import json
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest

from tests.mutation.forks import BROKE_DOWN, in_forks
from tests.mutation.mutants import Mutant

NOTICED = 1
SECONDS_TO_WAIT = 20.0
"""For one test, beside so many times as long as it takes of the processor: who only waits for longer hangs."""
TIMES_AS_LONG = 10

Held = dict[tuple[str, str], list[FunctionType]]


@dataclass(frozen=True)
class Known:
    """What is known of a test: how long it takes of the processor, and which lines of which modules it runs."""

    test: str
    seconds: float
    lines: dict[str, list[int]]

    def runs(self, path: Path, lines: Iterable[int]) -> bool:
        return not set(self.lines.get(str(path), ())).isdisjoint(lines)


class Suite:
    """A plugin of pytest that, in the place of running what was collected once, runs it against mutants."""

    def __init__(self, package: Path, work: "Callable[[Suite], None]") -> None:
        self._package = package
        self._work = work
        self._failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._session = session
        self._items = {item.nodeid: item for item in session.items}
        self._held = _functions(self._package)
        gc.freeze()  # or each fork copies all of it to look through it once
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def measure(self, to: Path) -> None:
        """Write down what is known of each test that succeeds."""
        for _ in in_forks([to], self._measure, at_once=1, of_processor=3_600, of_clock=36_000):
            pass

    def _measure(self, to: Path) -> int:
        running = coverage.Coverage(data_file=None, config_file=False, include=[f"{self._package}/*"])
        with to.open("w") as found:
            running.start()
            for name in self._items:
                running.switch_context(name)
                seconds = self._runs_well(name)
                if seconds is not None:
                    found.write(f"{json.dumps(asdict(Known(name, seconds, _lines(running, name))))}\n")
            running.stop()
        return 0

    def notices(self, mutant: Mutant, tests: Sequence[Known]) -> int:
        """In a fork: whether one of the tests fails. One that hangs ends the process."""
        if not _exchange(mutant, self._held):
            return BROKE_DOWN
        return NOTICED if any(self._fails(test) for test in tests) else 0

    def _fails(self, test: Known) -> bool:
        """Twice: on a machine that is busy a test may fail by itself."""
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_WAIT + TIMES_AS_LONG * test.seconds)
            if self._runs_well(test.test) is not None:
                return False
        return True

    def _runs_well(self, name: str) -> float | None:
        """How long a test takes of the processor; None: it fails."""
        self._failed, began = False, time.process_time()
        item, config = self._items[name], self._session.config
        reporter = config.pluginmanager.unregister(name="terminalreporter")
        own = tempfile.mkdtemp(prefix="mutant-")
        config._tmp_path_factory._basetemp = Path(own)  # type: ignore[attr-defined]
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            shutil.rmtree(own, ignore_errors=True)
            config.pluginmanager.register(reporter, "terminalreporter")
        return None if self._failed else time.process_time() - began


def _lines(running: coverage.Coverage, test: str) -> dict[str, list[int]]:
    data = running.get_data()
    data.set_query_context(test)
    return {path: lines for path in data.measured_files() if (lines := data.lines(path))}


def _functions(package: Path) -> Held:
    """Those of the package, wherever they are held, by file and name: looked for once, because it takes long."""
    held: Held = defaultdict(list)
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename.startswith(f"{package}/"):
            held[function.__code__.co_filename, function.__code__.co_qualname].append(function)
    return held


def _exchange(mutant: Mutant, held: Held) -> bool:
    """Put the mutant's code into the function that it is in, if it fits there."""
    changed = {code.co_firstlineno: code for code in _codes(mutant.code) if code.co_qualname == mutant.function}
    functions = [
        function
        for function in held[str(mutant.path), mutant.function or ""]
        if mutant.lines.start in range(function.__code__.co_firstlineno, _end(function.__code__) + 1)
    ]
    for function in functions:
        code = changed[function.__code__.co_firstlineno]
        if code.co_freevars != function.__code__.co_freevars:
            return False
        function.__code__ = code
    return bool(functions)


def _end(code: CodeType) -> int:
    return max(line for each in (code, *_codes(code)) for _, _, line in each.co_lines() if line)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
