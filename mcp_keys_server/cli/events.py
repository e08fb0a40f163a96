"""What was done, and whether that is still what was written down."""

from pathlib import Path

import anyio
import click

from mcp_keys_server.cli.head_file import read_head, write_head
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import Row, print_json, print_table
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.ledger import BEGINNING, Entry, Head
from mcp_keys_server.settings import Settings

MOST_EVENTS = 100_000
COLUMNS = ("number", "at", "kind", "user_id", "key_id", "by", "by_key_id", "client", "detail")


@click.group()
def events() -> None:
    """List what was done to keys and users, and prove that it is all there."""


@events.command("list")
@click.option("--user", metavar="USER", help="Only what was done to this user's keys: a user id or e-mail.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_EVENTS), default=50, show_default=True, metavar="N", help="How many at most."
)
@json_option
@with_settings()
def list_events(settings: Settings, *, user: str | None, limit: int, as_json: bool) -> None:
    """List what was done, the newest first."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            rows = [_row(entry) for entry in await ring.administration.list_events(user, limit=limit)]
        if as_json:
            print_json(rows)
        else:
            print_table(rows, COLUMNS, nothing="Nothing has been done yet.")

    anyio.run(run)


@events.command("head")
@with_settings()
def print_head(settings: Settings) -> None:
    """Print the head of the ledger: the number of the newest entry and its digest.

    Kept elsewhere, it lets 'events verify' prove that nothing before it was changed or lost.
    """

    async def run() -> None:
        head = BEGINNING
        async with key_ring_of(settings) as ring:
            for entry in await ring.administration.list_events(limit=1):
                head = Head(entry.number, entry.digest)
        click.echo(head)

    anyio.run(run)


@events.command("verify")
@click.option("--head", "known", metavar="HEAD", help="What 'events head' or this command printed earlier.")
@click.option(
    "--head-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where that is kept: compared with, if it is there, and replaced by the new head when all is well.",
)
@with_settings()
def verify_events(settings: Settings, *, known: str | None, head_file: Path | None) -> None:
    """Follow the ledger from its beginning to its end, and print its head.

    A ledger that was changed ends it with exit code 1 and names the first entry that shows it.
    """
    if known is not None and head_file is not None:
        raise click.UsageError("Give either --head or --head-file.")
    before = BEGINNING if known is None else _head("head", known)
    if head_file is not None:
        kept = read_head(head_file)
        before = BEGINNING if kept is None else _head("head_file", kept)

    async def run() -> Head:
        async with key_ring_of(settings) as ring:
            return await ring.administration.verify_events(before)

    head = anyio.run(run)
    if head_file is not None:
        write_head(head_file, str(head))
    click.echo(head)


def _head(field: str, text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError:
        raise InvalidFieldError(field, "a number, ':' and 64 hexadecimal digits, as 'events head' prints") from None


def _row(entry: Entry) -> Row:
    event = entry.event
    return {
        "number": entry.number,
        "at": event.at,
        "kind": event.kind,
        "user_id": event.user_id or None,  # of everybody
        "key_id": event.key_id,
        "by": event.by.means,
        "by_key_id": event.by.key_id,
        "client": event.by.client,
        "detail": event.detail,
        "digest": entry.digest.hex(),
    }
