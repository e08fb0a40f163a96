"""What an operator is told of figures that were made up."""

import pytest

from mcp_keys_server.cli.bench_report import Report, cost_advice
from mcp_keys_server.server.bench.findings import (
    CallFigures,
    CostFigures,
    Findings,
    Times,
    VerificationFigures,
    figures_of,
    recommended_cost,
)
from mcp_keys_server.settings import Settings


def _costs(least: int, most: int, *, of_10: float) -> list[CostFigures]:
    """Of a machine on which a check of cost 10 takes so many milliseconds."""
    return [
        CostFigures(cost, of_10 * 2.0 ** (cost - 10), 2000 / of_10 / 2.0 ** (cost - 10)) for cost in range(least, most)
    ]


@pytest.mark.parametrize(
    ("of_10", "recommended"),
    [(2000, 10), (500, 10), (251, 10), (250, 10), (126, 10), (125, 11), (62.5, 12), (40, 12), (15, 14), (1, 14)],
)
@pytest.mark.parametrize("most", [15, 11, 9])
def test_the_highest_cost_that_is_quick_is_recommended_and_no_lower_one_than_10(
    of_10: float, recommended: int, most: int
) -> None:
    assert recommended_cost(_costs(8, most, of_10=of_10)) == recommended


def test_what_was_not_measured_follows_from_the_nearest() -> None:
    costs = _costs(8, 11, of_10=60)
    assert figures_of(12, costs) == (CostFigures(12, 240, 2000 / 60 / 4), False)
    assert figures_of(4, costs)[0].check_ms == 60 / 64
    assert figures_of(9, costs) == (costs[1], True)


def test_what_to_do_follows_from_what_is_set() -> None:
    assert cost_advice(12, 12).endswith("It is what bcrypt_cost is set to.")
    raised, lowered = cost_advice(10, 12), cost_advice(13, 12)
    assert "bcrypt_cost is 10" in raised
    assert "MCP_KEYS_BCRYPT_COST=12: the keys that there are get it" in raised
    assert "bcrypt_cost is 13" in lowered
    assert "MCP_KEYS_BCRYPT_COST=12: new keys get it, and those that there are keep theirs" in lowered


def _report(most: int, load: float | None) -> str:
    findings = Findings(
        _costs(8, most, of_10=60),
        VerificationFigures(Times(20, 40), Times(8, 12.5), prefixes=3),
        16,
        [CallFigures("2025-11-25", 1234.4, Times(13, 99.5))],
    )
    settings = Settings(bcrypt_cost=12)
    return Report(findings, settings, cores=2, load=load, requests_per_minute=12, users=1000).text()


def test_what_was_measured_is_said() -> None:
    said = _report(15, 0.9)
    assert "Busy" not in said
    assert "no time" not in said
    assert "\n8     15.0 ms    133/s\n" in said
    assert "\nwarm         20.0 µs, 99 % within 40.0 µs\n" in said
    assert "8.00 µs, 99 % within 12.5 µs: what of that is the database's, of 3 of its keys\n" in said
    assert "\ncold         240 ms at cost 12\n" in said
    assert "\nall at once  120 s until all are in, of 1,000 users with keys that are cold\n" in said
    assert "\n2025-11-25  1,234/s   13.0 ms  99.5 ms  6,172\n" in said


def test_what_was_not_measured_is_said_too() -> None:
    said = _report(11, 1.0)
    assert "\nBusy      others wanted 1.0 cores" in said
    assert "For cost 11 and more there was no time" in said
    assert "\ncold         240 ms at cost 12, which was not measured\n" in said


def test_a_system_that_does_not_say_how_busy_it_is_is_not_called_busy() -> None:
    assert "Busy" not in _report(15, None)
