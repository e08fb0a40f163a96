"""The rows that name a peer, as bars beside ours: a PNG and an SVG for a README that is read in light and in dark."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.figures import Quantity, Row, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES: Final[Mapping[Quantity, str]] = {
    Quantity.VERIFICATIONS: "Warm verifications per second",
    Quantity.RATE: "Tool calls per second",
}
_OURS: Final = "mcp-keys-server"
_OUR_COLOUR: Final = "#1f9e89"
_THEIR_COLOUR: Final = "#8b93a1"
_TEXT: Final = "#7a7a7a"
"""As far from white as from the black of a dark page; there is nothing behind it."""
_INCHES_WIDE: Final = 9
_INCHES_OF_A_BAR: Final = 0.36
_INCHES_AROUND: Final = 0.9


class NoPlotError(Exception):
    """Nothing can be drawn; it says why."""


def draw(rows: Sequence[Row], folder: Path) -> Sequence[Path]:
    """The files that it wrote.

    Raises:
        NoPlotError: matplotlib is missing, or there is nothing to be seen.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlotError("a plot needs matplotlib: pip install 'mcp-keys-server[bench]'") from error
    panels = {quantity: bars for quantity in TITLES if (bars := _bars(rows, quantity))}
    if not panels:
        raise NoPlotError("there is nothing to plot, because no peers were measured")
    heights = [len(bars) * _INCHES_OF_A_BAR + _INCHES_AROUND for bars in panels.values()]
    # The same bytes for the same rows.
    with mpl.rc_context({"svg.hashsalt": "benchmark", "text.color": _TEXT, "font.size": 11}):
        figure = Figure(figsize=(_INCHES_WIDE, sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0]
        for one, (quantity, bars) in zip(axes, panels.items(), strict=True):
            _draw_panel(one, TITLES[quantity], bars)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "peers.png", folder / "peers.svg"]
        figure.savefig(paths[0], dpi=160, transparent=True)
        figure.savefig(paths[1], transparent=True, metadata={"Date": None})
    return paths


def _bars(rows: Sequence[Row], quantity: Quantity) -> Mapping[str, Spread]:
    """By name, the slowest first."""
    shown = [row for row in rows if row.quantity is quantity and row.peer is not None]
    if not shown:
        return {}
    bars = {str(row.peer): row.reference for row in shown}
    # Ours was measured again in the rounds of each of them.
    bars[_OURS] = Spread(
        statistics.median(row.measured.median for row in shown),
        min(row.measured.low for row in shown),
        max(row.measured.high for row in shown),
    )
    return dict(sorted(bars.items(), key=lambda bar: bar[1].median))


def _draw_panel(axes: "Axes", title: str, bars: Mapping[str, Spread]) -> None:
    medians = [spread.median for spread in bars.values()]
    middle_halves = [
        [spread.median - spread.low for spread in bars.values()],
        [spread.high - spread.median for spread in bars.values()],
    ]
    drawn = axes.barh(
        list(bars),
        medians,
        xerr=middle_halves,
        ecolor=_TEXT,
        color=[_OUR_COLOUR if name == _OURS else _THEIR_COLOUR for name in bars],
    )
    axes.bar_label(drawn, [f"{median:,.0f}" if median >= 10 else f"{median:.1f}" for median in medians], padding=6)
    axes.set_title(f"{title} (log scale; the longer the better)", loc="left", fontsize=12)
    axes.set_xscale("log")
    axes.set_xlim(max(min(medians) / 2, 0.5), max(medians) * 6)
    axes.tick_params(colors=_TEXT, which="both")
    axes.spines[:].set_color(_TEXT)
    axes.spines[["top", "right"]].set_visible(False)
