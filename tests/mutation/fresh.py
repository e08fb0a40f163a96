"""The package imported anew with a mutant in it, for what counts when a module is imported."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType

import pytest

from tests.mutation.mutants import Mutant
from tests.mutation.suite import NOTICED, Known

OPTIONS = (
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    "--hypothesis-seed=0",
)
OURS = ("mcp_keys_server", "tests")


def import_what_others_made() -> None:
    """All that the package and its tests import, so that no fork has to; and nothing of theirs."""
    import_module("hypothesis.stateful")
    import_module("tests.conftest")
    for name in [name for name in sys.modules if name.split(".")[0] in OURS and not name.startswith("tests.mutation")]:
        del sys.modules[name]


def notices(mutant: Mutant, module: str, tests: Sequence[Known]) -> int:
    """In a fork of a process that has not imported the package: whether one of the tests fails."""
    sys.meta_path.insert(0, _Finder(mutant, module))
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - it is no file
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)

    def fail() -> bool:
        return pytest.main([*OPTIONS, *(each.test for each in tests)]) != pytest.ExitCode.OK

    return NOTICED if fail() and fail() else 0  # on a machine that is busy a test may fail by itself


class _Loader(SourceFileLoader):
    def __init__(self, mutant: Mutant, module: str) -> None:
        super().__init__(module, str(mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self._mutant.code


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant, module: str) -> None:
        self._mutant = mutant
        self._module = module

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        if fullname != self._module:
            return None
        return spec_from_file_location(fullname, self._mutant.path, loader=_Loader(self._mutant, fullname))
