from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.bench import Effort
from tests.benchmarks.parts import PEER_PARTS
from tests.benchmarks.peers.environment import FOLDER, installed_peers
from tests.benchmarks.report import Report

_LEAST: Final = Effort(bcrypt_cost=4, rounds=1, calls=40, seconds=0.05, connections=2, peer_seconds=0.01, long_rounds=1)
_MEASURED: Final[Mapping[str, Sequence[str]]] = {
    "peers": [
        *["djangorestframework-api-key", "keyshield", "better-auth"],
        *["keyshield, SQLite, cached", "keyshield, SQLite", "keyshield, its delay on", "mcphub-server"],
        *["FastMCP's static tokens", "fastmcp-guard"],
    ],
    "peers-http": [
        *["keyshield, SQLite, cached", "mcphub-server", "SDK, no-op verifier", "FastMCP's static tokens"],
        *["keyshield, SQLite", "fastmcp-guard"],
    ],
}


def test_peers_that_cannot_be_installed_are_left_out_with_one_line_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    report = tmp_path / "report.json"
    assert main(["forged", "peers", "--json", str(report)], _LEAST) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"Left out: {', '.join(PEER_PARTS)}, because the peers could not be installed (ERROR: ")
    assert {row.what for row in Report.read(report).rows} == {"forged key refused, without store and bcrypt"}
    assert list(tmp_path.iterdir()) == [report]  # nothing that is half of something


if installed_peers() is not None:  # installing them takes minutes, and a measured run does it anyway

    @pytest.mark.parametrize("part", _MEASURED)
    def test_each_peer_is_measured_beside_ours(part: str, tmp_path: Path) -> None:
        report = tmp_path / "report.json"
        assert main([part, "--json", str(report)], _LEAST) == 0
        rows = Report.read(report).rows
        assert [row.peer for row in rows] == _MEASURED[part]
        assert all(row.reference.median > 0 for row in rows)
