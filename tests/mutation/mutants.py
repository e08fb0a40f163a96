"""The package, wrong in one place at a time."""

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType

from tests.mutation.changes import changes

Step = tuple[str, int | None]


@dataclass(frozen=True, eq=False)
class Mutant:
    """A module in which one expression or statement is another one."""

    path: Path
    name: str
    """What is changed where, however many lines stand above it."""
    function: str | None
    """The outermost function that it is in; None: it counts when the module is imported."""
    concerns: str
    """What it is called by those that use it, where it is in no function."""
    lines: range
    steps: tuple[Step, ...]
    changed: ast.AST

    @cached_property
    def code(self) -> CodeType:
        """Of the whole module, with the change."""
        tree = ast.parse(self.path.read_text())
        node: ast.AST = tree
        for step in self.steps[:-1]:
            node = _at(node, step)
        name, index = self.steps[-1]
        if index is None:
            setattr(node, name, deepcopy(self.changed))
        else:
            getattr(node, name)[index] = deepcopy(self.changed)
        return compile(ast.fix_missing_locations(tree), str(self.path), "exec", dont_inherit=True)


def mutants_of(path: Path) -> list[Mutant]:
    """All of a module, each with a name of its own."""
    found = []
    names: Counter[str] = Counter()
    for place in _places(ast.parse(path.read_text()), _Scope()):
        for words, changed in changes(
            place.node, in_test=place.is_test, in_init=place.scope.names[-1:] == ("__init__",)
        ):
            name = f"{place.scope}: {words}"
            names[name] += 1
            found.append(
                Mutant(
                    path,
                    name if names[name] == 1 else f"{name} ({names[name]})",
                    place.scope.function,
                    (place.scope.names or ("",))[-1],
                    range(place.node.lineno, (place.node.end_lineno or place.node.lineno) + 1),
                    place.steps,
                    changed,
                )
            )
    return found


@dataclass(frozen=True)
class _Scope:
    names: tuple[str, ...] = ()
    function: str | None = None

    def __str__(self) -> str:
        return ".".join(self.names) or "module"

    def within(self, name: str, *, is_function: bool = False) -> "_Scope":
        names = (*self.names, name)
        return _Scope(names, ".".join(names) if is_function and self.function is None else self.function)


@dataclass(frozen=True)
class _Place:
    node: ast.expr | ast.stmt
    scope: _Scope
    steps: tuple[Step, ...]
    is_test: bool


def _at(node: ast.AST, step: Step) -> ast.AST:
    name, index = step
    value = getattr(node, name)
    found: ast.AST = value if index is None else value[index]
    return found


def _places(node: ast.AST, scope: _Scope, steps: tuple[Step, ...] = ()) -> Iterator[_Place]:
    """Everything below that can be another thing, with what it is a part of."""
    for name, index, child in _children(node):
        inner = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name == "body":
            inner = scope.within(node.name, is_function=True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = scope.within(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and scope.function is None and name == "value":
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            inner = scope.within(ast.unparse(target))
        here = (*steps, (name, index))
        if isinstance(child, ast.expr | ast.stmt):
            yield _Place(child, inner, here, is_test=name in ("test", "ifs"))
        yield from _places(child, inner, here)


LEFT_ALONE = {
    "annotation",
    "returns",
    "decorator_list",
    "targets",
    "target",
    "bases",
    "keywords_of_class",
    "type_params",
}


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """What is below, but for words that are only shown, and what says of what kind something is."""
    for name, value in ast.iter_fields(node):
        if name in LEFT_ALONE or (isinstance(node, ast.ClassDef) and name == "keywords"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST) and not _is_only_shown(node, name, child):
                yield name, index, child


def _is_only_shown(node: ast.AST, name: str, child: ast.AST) -> bool:
    return _is_no_work(child) or _is_said_by(node, name, child)


def _is_no_work(child: ast.AST) -> bool:
    match child:
        case (
            ast.Import()
            | ast.ImportFrom()
            | ast.expr_context()
            | ast.Expr(value=ast.Constant())  # a docstring
            | ast.ClassDef(bases=[*_, ast.Name(id="Protocol")])
            | ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")])
        ):
            return True
        case _:
            return False


def _is_said_by(node: ast.AST, name: str, child: ast.AST) -> bool:
    """Whether it is a word that a text, an error or a line of the log is made of, or one that is for type checkers."""
    match node:
        case ast.JoinedStr():
            return isinstance(child, ast.Constant)
        case ast.FormattedValue():
            return name == "format_spec"
        case (
            ast.Raise()
            | ast.Call(func=ast.Attribute(value=ast.Name(id="logger")))
            | ast.Call(func=ast.Name(id="TypeVar" | "cast"))
        ):
            return True
        case _:
            return False
