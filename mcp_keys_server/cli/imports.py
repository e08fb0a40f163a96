"""Users and keys taken over from another system, whose clients go on with the keys that they have."""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import click

from mcp_keys_server.cli.options import Command, json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import Row, print_facts, print_json, print_table
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.field_rules import check_scopes
from mcp_keys_server.core.import_plan import ImportPlan, plan
from mcp_keys_server.core.imported_key import ScopeRule, System
from mcp_keys_server.core.importer import Importer, ImportReport
from mcp_keys_server.core.source_row import SourceRow
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.postgres.url import is_url
from mcp_keys_server.stores.sources.fleetmind import read_fleetmind_file, read_fleetmind_server
from mcp_keys_server.stores.sources.hub import read_hub

MANY_ROWS: Final = 500
"""Of so many, it is shown how far it has come."""
COUNTS: Final = ("rows_read", "taken", "already_there", "skipped", "users_added")


@click.group("import")
def imports() -> None:
    """Take over the users and keys of another system; their clients go on as they are."""


def _import_options(command: Command) -> Command:
    for option in (
        click.option("--apply", is_flag=True, help="Write it down. Without this: only say what would be taken."),
        click.option("--scopes", metavar="SCOPES", help="What the keys may do: this alone, whatever it was there."),
        click.option(
            "--add-scopes",
            metavar="SCOPES",
            help="What they may do beside what they could there; '' for nothing.  [default: keys:read keys:write]",
        ),
        json_option,
        with_settings(),
    ):
        command = option(command)
    return command


@imports.command("hub")
@click.argument("source")
@_import_options
def import_hub(
    settings: Settings, *, source: str, apply: bool, as_json: bool, scopes: str | None, add_scopes: str | None
) -> None:
    """Take over the keys of a hub, which begin with 'mhu_'.

    SOURCE is its SQLite file, with the table user_api_keys. It is read, and never changed.
    """
    path = _file(source)

    async def read() -> Sequence[SourceRow]:
        return await anyio.to_thread.run_sync(read_hub, path)

    _import(settings, System.HUB, read, _scope_rule(scopes, add_scopes), apply=apply, as_json=as_json)


@imports.command("fleetmind")
@click.argument("source")
@_import_options
def import_fleetmind(
    settings: Settings, *, source: str, apply: bool, as_json: bool, scopes: str | None, add_scopes: str | None
) -> None:
    """Take over the keys of a FleetMind, which begin with 'fm_'.

    SOURCE is its database, with the table api_keys: postgresql://USER@HOST/DATABASE, with the password in PGPASSWORD,
    or an SQLite file. It is read, and never changed.
    """
    on_a_server = source.startswith(("postgresql://", "postgres://"))
    path = Path() if on_a_server else _file(source)

    async def read() -> Sequence[SourceRow]:
        if on_a_server:
            return await read_fleetmind_server(source)
        return await anyio.to_thread.run_sync(read_fleetmind_file, path)

    _import(settings, System.FLEETMIND, read, _scope_rule(scopes, add_scopes), apply=apply, as_json=as_json)


def _file(source: str) -> Path:
    if "://" in source or is_url(source):  # not shown, because there may be a password in it
        raise click.UsageError("SOURCE is the path of an SQLite file or, of a FleetMind, a URL: postgresql://...")
    return Path(source)


def _scope_rule(scopes: str | None, added: str | None) -> ScopeRule:
    if scopes is not None and added is not None:
        raise click.UsageError("Give either --scopes or --add-scopes.")
    if scopes is not None:
        rule = ScopeRule(instead=frozenset(scopes.split()), added=frozenset())
    else:
        rule = ScopeRule() if added is None else ScopeRule(frozenset(added.split()))
    check_scopes(rule.added | (rule.instead or frozenset()))
    return rule


def _import(
    settings: Settings,
    system: System,
    read: Callable[[], Awaitable[Sequence[SourceRow]]],
    rule: ScopeRule,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    async def run() -> tuple[ImportPlan, ImportReport]:
        planned = plan(await read(), system, utc_now(), rule)
        async with key_ring_of(settings, create=apply) as ring:
            importer = Importer(ring.store, system, write=apply)
            with _progress(planned.rows) as bar:
                return planned, await importer.take(planned, after_each=bar)

    planned, report = anyio.run(run)
    notes = _notes(planned, report)
    rows: list[Row] = [asdict(remark) for remark in report.remarks]
    counts = {name: getattr(report, name) for name in COUNTS}
    if as_json:
        print_json({"from": system, "applied": apply} | counts | {"notes": notes, "rows": rows})
        return
    print_facts(counts)
    if rows:
        click.echo()
        print_table(rows, ("source_id", "kind", "reason"), nothing="")
    for note in notes:
        click.echo(f"\n{note}")


def _notes(planned: ImportPlan, report: ImportReport) -> list[str]:
    notes = []
    if planned.has_naive_times:
        notes.append("There are times without a zone; they were taken as UTC.")
    if not report.applied:
        notes.append("Nothing was written. With --apply, this is done.")
    return notes


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], object]]:
    """What is to be called with the number of rows that are done."""
    if rows < MANY_ROWS or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=rows, label="Keys", file=sys.stderr) as bar:
        yield bar.update
