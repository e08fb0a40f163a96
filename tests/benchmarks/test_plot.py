import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.figures import Quantity
from tests.benchmarks.made_up_rows import row
from tests.benchmarks.plot import NoPlotError, draw
from tests.benchmarks.report import Report

ROWS = [
    row(100, None, quantity=Quantity.VERIFICATIONS, peer="one peer"),
    row(0.1, None, quantity=Quantity.VERIFICATIONS, peer="another"),
    row(2, None, quantity=Quantity.RATE, peer="a third"),
    row(3, None),
]


def test_the_rows_that_name_a_peer_are_drawn_as_png_and_as_svg(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, folder = tmp_path / "report.json", tmp_path / "plots"
    Report({}, ROWS).write(report)
    assert main(["--from", str(report), "--plot", str(folder)]) == 0
    png, svg = folder / "peers.png", folder / "peers.svg"
    assert f"plot: {png}\nplot: {svg}\n" in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text("utf-8")


def test_the_same_rows_give_the_same_svg(tmp_path: Path) -> None:
    _, first = draw(ROWS, tmp_path / "first")
    _, second = draw(ROWS, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_without_rows_of_peers_there_is_nothing_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    Report({}, [row(3, None)]).write(report)
    assert main(["--from", str(report), "--plot", str(tmp_path / "plots")]) == 1
    assert capsys.readouterr().err == "there is nothing to plot, because no peers were measured\n"


def test_without_matplotlib_it_says_how_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NoPlotError, match="pip install 'mcp-keys-server\\[bench\\]'"):
        draw(ROWS, tmp_path)
