"""What is said of what was measured."""

import platform
import textwrap
from dataclasses import asdict, dataclass
from typing import Final

from mcp_keys_server.cli.output import facts_text, table_text
from mcp_keys_server.server.bench.findings import (
    COSTS,
    LEAST_COST,
    MOST_MILLISECONDS,
    CallFigures,
    CostFigures,
    Findings,
    Times,
    figures_of,
    recommended_cost,
)
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.postgres.url import PostgresUrl

WIDTH: Final = 100
RULE: Final = (
    f"the highest whose check takes at most {MOST_MILLISECONDS} ms, and never less than {LEAST_COST} (OWASP's Password "
    f"Storage Cheat Sheet: {LEAST_COST} or more, in less than a second)"
)


@dataclass(frozen=True, slots=True)
class Report:
    """Figures for an operator: with three digits that count, since no more of them come out twice."""

    findings: Findings
    settings: Settings
    cores: int
    load: float | None
    """How many programs wanted a core in the minute before; None: this system does not say."""
    requests_per_minute: float
    users: int

    def facts(self) -> dict[str, object]:
        """All of it, for JSON: milliseconds and microseconds where the names say so."""
        verification = self.findings.verification
        configured, is_measured = self._configured
        return {
            "machine": self._machine,
            "database": {
                "kind": self._kind,
                "where": str(self.settings.database),
                "prefixes_looked_up": verification.prefixes,
            },
            "bcrypt": {
                "costs": [asdict(each) for each in self.findings.costs],
                "rule": RULE,
                "recommended_cost": recommended_cost(self.findings.costs),
                "configured_cost": configured.cost,
            },
            "verification": {
                "warm_us": asdict(verification.warm),
                "look_up_us": asdict(verification.look_up),
                "cold_ms": configured.check_ms,
                "cold_was_measured": is_measured,
                "users_at_once": self.users,
                "users_at_once_seconds": self._seconds_for_all,
            },
            "worker": {
                "callers": self.findings.callers,
                "requests_per_user_and_minute": self.requests_per_minute,
                "protocols": [asdict(calls) | {"users": self._users(calls)} for calls in self.findings.calls],
            },
        }

    def text(self) -> str:
        return "\n".join(
            [facts_text(self._where()), "", *self._bcrypt(), "", *self._verification(), "", *self._worker()]
        )

    @property
    def _kind(self) -> str:
        return "PostgreSQL" if isinstance(self.settings.database, PostgresUrl) else "SQLite"

    @property
    def _machine(self) -> dict[str, object]:
        system = f"{platform.system()} {platform.machine()}"
        return {"cores": self.cores, "load_before": self.load, "system": system, "python": platform.python_version()}

    @property
    def _configured(self) -> tuple[CostFigures, bool]:
        return figures_of(self.settings.bcrypt_cost, self.findings.costs)

    @property
    def _seconds_for_all(self) -> float:
        return self.users / self._configured[0].checks_per_second

    def _users(self, calls: CallFigures) -> int:
        return calls.users(self.requests_per_minute)

    def _where(self) -> dict[str, object]:
        machine = self._machine
        facts: dict[str, object] = {
            "Machine": f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}",
            "Database": f"{self.settings.database} ({self._kind}); nothing in it was changed",
        }
        if self.load is not None and self.load >= self.cores / 2:
            facts["Busy"] = f"others wanted {self.load:.1f} cores in the minute before; measure again when they do not"
        return facts

    def _bcrypt(self) -> list[str]:
        costs = self.findings.costs
        rows = [
            {"cost": each.cost, "one check": f"{_rounded(each.check_ms)} ms", "all cores": _per_second(each)}
            for each in costs
        ]
        more = f"For cost {costs[-1].cost + 1} and more there was no time; each step doubles the work. "
        return [
            "bcrypt: one check alone, and checks on all cores.",
            "",
            table_text(rows, ("cost", "one check", "all cores")),
            "",
            _prose(
                (more if costs[-1].cost < COSTS[-1] else "")
                + cost_advice(self.settings.bcrypt_cost, recommended_cost(costs))
                + " It matters little here: a key holds 256 random bits, which nobody guesses at any cost, and bcrypt "
                "runs at its first use only."
            ),
        ]

    def _verification(self) -> list[str]:
        verification, (configured, is_measured) = self.findings.verification, self._configured
        looked_up = f"of {verification.prefixes} of its keys" if verification.prefixes else "of a key that is not there"
        cold = f"{_rounded(configured.check_ms)} ms at cost {configured.cost}"
        facts: dict[str, object] = {
            "warm": _microseconds(verification.warm),
            "look-up": f"{_microseconds(verification.look_up)}: what of that is the database's, {looked_up}",
            "cold": cold if is_measured else f"{cold}, which was not measured",
            "all at once": f"{_rounded(self._seconds_for_all)} s until all are in, of {self.users:,} users with keys "
            "that are cold",
        }
        return [
            "Verification of a key: warm when it was proven before, cold when bcrypt has to.",
            "",
            facts_text(facts),
        ]

    def _worker(self) -> list[str]:
        rows = [
            {
                "protocol": calls.protocol,
                "requests": f"{_rounded(calls.requests_per_second)}/s",
                "median": f"{_rounded(calls.milliseconds.median)} ms",
                "99 %": f"{_rounded(calls.milliseconds.p99)} ms",
                "users": f"{self._users(calls):,}",
            }
            for calls in self.findings.calls
        ]
        return [
            _prose(
                f"One worker, kept busy by {self.findings.callers} clients that call the tool whoami over HTTP, from "
                "the same machine and its cores. A user stands for "
                f"{self.requests_per_minute:g} requests a minute (--requests-per-user-and-minute)."
            ),
            "",
            table_text(rows, ("protocol", "requests", "median", "99 %", "users")),
            "",
            _prose(
                "This is all that it can do; plan with half, because requests do not come evenly. What stands behind "
                "other aliases, TLS and the network are not in it. For more cores there is 'serve --workers'."
            ),
        ]


def cost_advice(configured: int, recommended: int) -> str:
    """What to choose, and what to do about it."""
    advice = f"Recommended is {recommended}: {RULE}."
    if configured == recommended:
        return f"{advice} It is what bcrypt_cost is set to."
    after = (
        "the keys that there are get it when bcrypt next checks them"
        if configured < recommended
        else "new keys get it, and those that there are keep theirs"
    )
    return f"{advice} bcrypt_cost is {configured}; to change that, set MCP_KEYS_BCRYPT_COST={recommended}: {after}."


def _prose(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _per_second(figures: CostFigures) -> str:
    return f"{_rounded(figures.checks_per_second)}/s"


def _microseconds(times: Times) -> str:
    return f"{_rounded(times.median)} µs, 99 % within {_rounded(times.p99)} µs"


def _rounded(figure: float) -> str:
    """With two or three digits that count."""
    if figure >= 100:  # noqa: PLR2004
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"  # noqa: PLR2004
