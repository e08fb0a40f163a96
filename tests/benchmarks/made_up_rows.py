"""Rows that nobody measured, for what is done with rows."""

from tests.benchmarks.figures import Goal, Quantity, Row, Spread


def row(
    ratio: float,
    goal: Goal | None,
    *,
    what: str = "this",
    quantity: Quantity = Quantity.CALL,
    peer: str | None = None,
) -> Row:
    return Row(
        what=what,
        quantity=quantity,
        measured=Spread(10 * ratio, 9 * ratio, 11 * ratio),
        compared_with="that" if peer is None else peer,
        reference=Spread(10, 9, 11),
        ratio=Spread(ratio, ratio, ratio),
        goal=goal,
        rounds_run=3,
        rounds_kept=2,
        rounds_quiet=2,
        peer=peer,
    )
