"""What else an expression or a statement could be: the slips that a test has to notice."""

import ast
from collections.abc import Iterator

from tests.mutation.sql_changes import is_sql, sql_changes

Change = tuple[str, ast.AST]

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
BOUNDS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def changes(node: ast.expr | ast.stmt, *, in_test: bool, in_init: bool) -> Iterator[Change]:
    """Each with its words."""
    for changed in (*_expressions(node), *_statements(node, in_init=in_init)):
        yield _words(node, changed), changed
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_sql(node.value):
        for words, text in sql_changes(node.value):
            yield words, ast.Constant(text)
    if in_test and isinstance(node, ast.expr) and not _is_negated_anyway(node):
        negated = ast.UnaryOp(ast.Not(), node)
        yield _words(node, negated), negated


def _words(node: ast.AST, changed: ast.AST) -> str:
    was, is_now = (" ".join(ast.unparse(it).split()) for it in (node, changed))
    return f"{was} -> {'nothing' if is_now == 'pass' else is_now}"


def _is_negated_anyway(test: ast.expr) -> bool:
    match test:
        case ast.Constant() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[op]):
            return not isinstance(op, BOUNDS)
        case _:
            return False


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for place, op in enumerate(ops):
                others = [*ops[:place], COMPARISONS[type(op)](), *ops[place + 1 :]]
                yield ast.Compare(left, others, comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
            for place in range(len(values)):
                rest = [*values[:place], *values[place + 1 :]]
                yield ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            yield ast.BinOp(left, OPERATIONS[type(op)](), right)
        case ast.Constant(value=value):
            yield from _constants(value)
        case _:
            pass


def _constants(value: object) -> Iterator[ast.AST]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case str() if not is_sql(value) and not _is_sentence(value):
            yield ast.Constant(f"X{value}")
        case bytes():
            yield ast.Constant(b"X" + value)
        case _:
            pass


def _is_sentence(text: str) -> bool:
    """Whether it is said to people: nothing hangs on its words, and a test that repeats them says nothing of them."""
    return text.count(" ") > 2


def _statements(node: ast.AST, *, in_init: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) if not in_init:
            yield ast.Pass()
        case ast.AugAssign(target=target, op=op, value=value):
            yield ast.Pass()
            if type(op) in OPERATIONS:
                yield ast.AugAssign(target, OPERATIONS[type(op)](), value)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case _:
            pass
