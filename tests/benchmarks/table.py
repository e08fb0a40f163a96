"""The rows as a table in Markdown, which reads well in a terminal too."""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks.figures import Quantity, Row, Spread

_HEADINGS = ("what", "median (middle half)", "compared with", "median", "ratio (middle half)", "goal", "met", "rounds")

_MET: Final = {True: "yes", False: "NO", None: ""}


def table(rows: Sequence[Row]) -> str:
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    rule = " | ".join("-" * width for width in widths)
    return "".join(f"| {line} |\n" for line in [lines[0], rule, *lines[1:]])


def goals_table(rows: Sequence[Row]) -> str:
    """Those that have a goal, by its number, as the README shows them."""
    lines = ["| # | work | with us | compared with | | ratio | goal | |", "| --- " * 8 + "|"]
    for goal, row in sorted(((row.goal, row) for row in rows if row.goal), key=lambda pair: pair[0].number):
        measured, reference = (_figure(spread.median, row.quantity) for spread in (row.measured, row.reference))
        met = "" if goal.is_met(row.ratio.median) else "**missed**"
        ratio = f"{_short(row.ratio.median)} | {goal}"
        lines.append(
            f"| {goal.number} | {row.what} | {measured} | {row.compared_with} | {reference} | {ratio} | {met} |"
        )
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        _spread(row.measured, row.quantity),
        row.compared_with,
        _figure(row.reference.median, row.quantity),
        _ratio(row.ratio),
        "" if row.goal is None else f"{row.goal.number}: {row.goal}",
        _MET[row.is_met],
        _rounds(row),
    )


def _rounds(row: Row) -> str:
    kept = f"{row.rounds_kept} of {row.rounds_run}"
    return kept if row.rounds_quiet >= row.rounds_kept else f"{kept}, only {row.rounds_quiet} quiet"


def _spread(spread: Spread, quantity: Quantity) -> str:
    return f"{_figure(spread.median, quantity)} ({_figure(spread.low, quantity)} to {_figure(spread.high, quantity)})"


def _figure(value: float, quantity: Quantity) -> str:
    if quantity in (Quantity.RATE, Quantity.VERIFICATIONS):
        return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"
    if quantity is Quantity.MEMORY:
        return f"{value:,.0f} B"
    return f"{_short(value / 1000)} ms" if value >= 1000 else f"{_short(value)} µs"


def _ratio(ratio: Spread) -> str:
    if ratio.median < 0.01:
        return f"1 : {1 / ratio.median:,.0f}"
    return f"{_short(ratio.median)} ({_short(ratio.low)} to {_short(ratio.high)})"


def _short(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
