"""The servers behind the aliases, in the hands of the operator."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from mcp_keys_server.cli.configuration import check_variables
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import Row, print_json, print_table, printable
from mcp_keys_server.core.field_rules import parse_user_id
from mcp_keys_server.settings import Settings, SettingsError
from mcp_keys_server.upstreams import AnyUpstream

if TYPE_CHECKING:
    from mcp_keys_server.server.gateway.control import Serving
    from mcp_keys_server.server.gateway.trial import Bench, Trial
    from mcp_keys_server.server.gateway.upstream_status import UpstreamStatus

LONGEST_CELL = 300
"""Characters; part of it is what a stranger wrote."""
MILLISECONDS = 1000


@click.group()
def upstreams() -> None:
    """List what runs behind the aliases, try it out, and accept tools that have changed."""


@upstreams.command("list")
@json_option
@with_settings()
def list_upstreams(settings: Settings, *, as_json: bool) -> None:
    """List who uses which upstream, in all servers of this machine that have the same upstream_data_dir."""
    from mcp_keys_server.server.gateway.control import read_status

    _chosen(settings, None)
    _show_serving(anyio.run(read_status, settings.upstream_data_dir), settings, as_json=as_json)


def _show_serving(serving: "Serving", settings: Settings, *, as_json: bool) -> None:
    rows = [_status_row(status) for status in serving.statuses]
    if as_json:
        print_json(rows)
    else:
        nothing = (
            "Nobody has used an upstream since the server began."
            if serving.pids
            else f"No server that has upstreams runs here, with {settings.upstream_data_dir}."
        )
        columns = (
            *("alias", "user_id", "state", "pid", "since", "calls", "open_calls", "errors"),
            *("mean_ms", "longest_ms", "last_used_at", "last_error", "last_error_at"),
        )
        print_table(rows, columns, nothing=nothing)
    for pid in serving.silent_pids:
        click.echo(f"The server with pid {pid} did not answer.", err=True)


def _status_row(status: "UpstreamStatus") -> Row:
    return {
        "alias": status.alias,
        "user_id": status.user_id,
        "state": status.state,
        "pid": status.pid,
        "since": status.since,
        "calls": status.calls,
        "open_calls": status.open_calls,
        "errors": status.errors,
        "mean_ms": round(status.mean_seconds * MILLISECONDS),
        "longest_ms": round(status.longest_seconds * MILLISECONDS),
        "last_used_at": status.last_used_at,
        "last_error": None if status.last_error is None else _plain(status.last_error),
        "last_error_at": status.last_error_at,
    }


@upstreams.command("check")
@click.argument("alias", required=False)
@click.option(
    "--user", metavar="USER_ID", help="For whom to try it.  [default: somebody made up, of whom nothing is kept]"
)
@json_option
@with_settings()
def check_upstreams(settings: Settings, *, alias: str | None, user: str | None, as_json: bool) -> int:
    """Start or reach each upstream as the server would, or the one with this alias, and ask what it has.

    What programs write to standard error is shown. One that cannot be used ends it with exit code 1.
    """
    from mcp_keys_server.server.gateway.trial import TRIAL_USER, tried
    from mcp_keys_server.server.log_setup import set_up_logging

    chosen = _chosen(settings, alias)
    check_variables(chosen)
    user_id = TRIAL_USER if user is None else parse_user_id(user)
    set_up_logging(settings.log_level)

    async def run() -> "list[Trial]":
        async with _bench_of(settings) as bench:
            return [await tried(each, upstream, user_id, bench) for each, upstream in chosen.items()]

    return _show_trials(anyio.run(run), as_json=as_json)


@asynccontextmanager
async def _bench_of(settings: Settings) -> AsyncIterator["Bench"]:
    from mcp_keys_server.server.gateway.trial import Bench

    async def nothing_pinned(_: str) -> Mapping[str, str]:
        return {}

    folder, uids = settings.upstream_data_dir, settings.upstream_uids
    if isinstance(settings.database, Path) and not settings.database.exists():
        yield Bench(folder, uids, nothing_pinned)
        return
    async with key_ring_of(settings) as ring:
        yield Bench(folder, uids, ring.tool_pins.pinned)


def _show_trials(trials: "list[Trial]", *, as_json: bool) -> int:
    rows = [_trial_row(trial) for trial in trials]
    if as_json:
        print_json(rows)
    else:
        table = [{**row, **_cells(row)} for row in rows]
        columns = ("alias", "usable", "server", "protocol", "tools", "resources", "prompts", "remarks")
        print_table(table, columns, nothing="")
    return 1 if any(trial.error for trial in trials) else 0


def _trial_row(trial: "Trial") -> dict[str, object]:
    plain = {
        name: _plain(value) if isinstance(value, str) else value
        for name, value in asdict(trial).items()
        if name not in ("idle_patterns", "reserved_tools", "changed_tools")
    }
    return {
        "alias": trial.alias,
        "usable": trial.error is None,
        **plain,
        "idle_patterns": list(trial.idle_patterns),
        "reserved_tools": list(trial.reserved_tools),
        "changed_tools": [_plain(name) for name in trial.changed_tools],
    }


def _cells(row: Row) -> Row:
    tools = "-" if row["tools"] is None else row["tools"]
    return {"usable": "yes" if row["usable"] else "no", "tools": tools, "remarks": _remarks(row)}


def _remarks(row: Row) -> str | None:
    said = {
        "": [row["error"]] if row["error"] else [],
        "no tool fits: ": row["idle_patterns"],
        "left out, because ours have these names: ": row["reserved_tools"],
        "not what they were when first seen: ": row["changed_tools"],
    }
    return "; ".join(what + _joined(which) for what, which in said.items() if which) or None


def _joined(words: object) -> str:
    assert isinstance(words, Sequence)  # noqa: S101 - a row of ours
    return ", ".join(map(str, words))


@upstreams.command("accept")
@click.argument("alias")
@with_settings()
def accept_tools(settings: Settings, *, alias: str) -> None:
    """Forget what the tools of an upstream looked like, so that those that have changed are let through."""
    _chosen(settings, alias)

    async def run() -> int:
        async with key_ring_of(settings) as ring:
            return await ring.tool_pins.forget(alias)

    count = anyio.run(run)
    if count:
        click.echo(
            f"What {count} tools of '{alias}' looked like is forgotten. It is noted anew when they are listed the next "
            "time; servers that run need not be told."
        )
    else:
        click.echo(f"There was nothing to forget: no tool of '{alias}' has been seen yet.")


def _chosen(settings: Settings, alias: str | None) -> Mapping[str, AnyUpstream]:
    """
    Raises:
        SettingsError: There is no such upstream, or none at all.
    """
    if not settings.upstreams:
        raise SettingsError("there are no upstreams; name the file that describes them: --config FILE")
    if alias is None:
        return settings.upstreams
    if alias not in settings.upstreams:
        raise SettingsError(f"upstreams: this alias is none of them; there are: {', '.join(settings.upstreams)}")
    return {alias: settings.upstreams[alias]}


def _plain(text: str) -> str:
    return printable(text)[:LONGEST_CELL]
