"""The database as a whole: copied into another one, backed up, checked and brought up to date."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import anyio
import click

from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import print_facts, print_json, print_table
from mcp_keys_server.core.checksum_secret_store import NeedOfSecret
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.ledger import Head
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sqlite.backup import back_up
from mcp_keys_server.stores.whole.checking import check_database
from mcp_keys_server.stores.whole.copying import Tell, copy_database
from mcp_keys_server.stores.whole.migrating import migrate_database


@click.group()
def database() -> None:
    """Copy, back up, check and update the database."""


@database.command("copy")
@click.argument("source")
@click.argument("target")
@json_option
def copy(*, source: str, target: str, as_json: bool) -> None:
    """Make TARGET a copy of SOURCE, with everything in it; both are what --database takes.

    TARGET is made, or holds nothing yet, or is a copy that was cut short and goes on. It can be used once it was
    compared with SOURCE row by row. SOURCE is not changed. Stop its servers first: at its end, the copy finds that
    SOURCE has changed meanwhile, and cannot be used before it has been run again.
    """
    from_place, to_place = (load_settings(database=place).database for place in (source, target))
    with _progress("Copying") as tell:
        copied = anyio.run(copy_database, from_place, to_place, tell)
    facts = copied.rows | {"head": str(copied.head)}
    if as_json:
        print_json(facts | {"was_there": copied.was_there})
        return
    print_facts(facts)
    done = "was there already, and is like its source" if copied.was_there else "is finished, and is like its source"
    click.echo(f"\nThe copy {done} in every row. Start your servers with it: --database {to_place}")


@database.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@with_settings()
def backup(settings: Settings, *, file: Path, force: bool) -> None:
    """Write the SQLite database as it is at this moment to FILE, also while servers are running, and print its head.

    A plain copy of the file is none: what was written last is in another one beside it.
    """
    if isinstance(settings.database, PostgresUrl):
        raise UnusableDatabaseError(
            f"PostgreSQL makes its own backups; run: pg_dump --format=custom --schema={settings.database.schema} "
            f"--file={shlex.quote(str(file))} {shlex.quote(settings.database.shown)}"
        )
    path, to = settings.database, file.absolute()

    async def run() -> Head:
        with _progress("Backing up") as tell:
            return await back_up(path, to, replace=force, tell=tell)

    click.echo(anyio.run(run))


@database.command("check")
@json_option
@with_settings()
def check(settings: Settings, *, as_json: bool) -> int:
    """Say what is in the database and whether it is sound, without changing anything.

    With a problem, it ends with exit code 1.
    """
    report = anyio.run(check_database, settings.database, utc_now)
    facts = {"kind": report.kind, "where": report.where, "schema": report.schema} | report.server | report.counts
    head = None if report.head is None else str(report.head)
    if as_json:
        print_json(facts | {"head": head, "problems": report.problems})
    else:
        print_facts(facts | {"head": head})
        click.echo("\n".join(["", *report.problems]) if report.problems else "\nNo problems were found.")
    return 1 if report.problems else 0


@database.command("migrate")
@click.option("--create", is_flag=True, help="Make the database if there is none.")
@click.option("--grant-to", metavar="ROLE", help="Let this role of PostgreSQL serve with the tables, and no more.")
@with_settings()
def migrate(settings: Settings, *, create: bool, grant_to: str | None) -> None:
    """Bring the schema up to date, for servers whose own role may not.

    A server that may does it when it starts.
    """

    async def run() -> tuple[int, int]:
        return await migrate_database(settings.database, create=create, grant_to=grant_to)

    before, after = anyio.run(run)
    if before == after:
        click.echo(f"The database is of schema {after} already.")
    else:
        click.echo(
            f"The database was of schema {before} and is of {after} now." if before else f"Made, of schema {after}."
        )
    if grant_to is not None:
        click.echo(f"The role {grant_to} can serve with it.")


@database.command("replace-checksum-secret")
@with_settings()
def replace_checksum_secret(settings: Settings) -> None:
    """Have new keys get their checksum from a new secret, because somebody may have the one that is used.

    It takes some seconds, in which every server learns of it. Every key stays good. Those that are there are still
    recognised by the secret that they were made with, until they are rotated and 'forget-checksum-secrets' is run.
    """

    async def wait(seconds: float) -> None:
        click.echo(f"Waiting for {seconds:.0f} seconds, until every server knows the new secret.", err=True)
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            click.echo("The secret was not replaced; run the same command again to do so.", err=True)
            raise

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            await ring.administration.replace_checksum_secret(wait)

    anyio.run(run)
    click.echo(
        "New keys get their checksum from a new secret now. To be rid of the one before, rotate the keys that were "
        "made with it; this names them: mcp-keys-server database forget-checksum-secrets"
    )


@database.command("forget-checksum-secrets")
@json_option
@with_settings()
def forget_checksum_secrets(settings: Settings, *, as_json: bool) -> int:
    """Forget the checksum secrets that were replaced and that no key needs any more.

    Where there are keys that do, it names up to a thousand of them and ends with exit code 1: rotate or revoke them,
    and run it again. A key that was rotated does as long as its older secret is good; --overlap-hours says how long.
    """

    async def run() -> Sequence[NeedOfSecret]:
        async with key_ring_of(settings) as ring:
            return await ring.administration.forget_checksum_secrets()

    needing = anyio.run(run)
    if as_json:
        print_json({"needed_by": [asdict(need) for need in needing]})
    elif needing:
        print_table([asdict(need) for need in needing], ("key_id", "until"), nothing="")
        click.echo(
            "\nThese keys need a secret that was replaced. Rotate or revoke those without a time (enable those that "
            "are disabled first, and wait for the end of an earlier rotation), wait for the time of the others, and "
            "run it again."
        )
    else:
        click.echo("No checksum secret that was replaced is left.")
    return 1 if needing else 0


@contextmanager
def _progress(label: str) -> Iterator[Tell]:
    """A bar on the terminal, and none elsewhere."""
    with click.progressbar(
        length=1, label=label, file=sys.stderr, hidden=sys.stderr is None or not sys.stderr.isatty()
    ) as bar:

        def tell(done: int, most: int) -> None:
            bar.length = most
            bar.update(done - bar.pos)

        yield tell
