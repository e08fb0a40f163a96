"""Which tests could notice a mutant, the likeliest and quickest first."""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.mutation.mutants import Mutant
from tests.mutation.suite import Known

SOME = 100
"""So many are tried when nothing tells which."""


def tests_for(mutant: Mutant, known: Sequence[Known], package: Path, seconds: float) -> list[Known]:
    """As many as take so long together, of the processor."""
    its_own = f"/test_{mutant.path.stem}.py::"  # also those that run it only while they are collected
    if mutant.function is not None:
        fitting = [test for test in known if its_own in test.test or test.runs(mutant.path, mutant.lines)]
    else:
        users = list(_users(package, mutant.concerns))
        fitting = [
            test
            for test in known
            if its_own in test.test
            or str(mutant.path) in test.lines
            or any(test.runs(path, lines) for path, lines in users)
        ] or list(known)[:SOME]
    chosen, left = [], seconds
    for test in sorted(fitting, key=lambda test: (mutant.path.stem not in test.test, test.seconds)):
        left -= test.seconds
        if left < 0:
            break
        chosen.append(test)
    return chosen


@cache
def _functions(package: Path) -> list[tuple[Path, range, frozenset[str]]]:
    """Each with where it is and the names that stand in it."""
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
                found.append((path, lines, frozenset({node.name, *_names(node)})))
    return found


def _names(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case _:
                pass


def _users(package: Path, name: str) -> Iterator[tuple[Path, range]]:
    """Where the functions are in which a name stands."""
    return ((path, lines) for path, lines, names in _functions(package) if name in names)
