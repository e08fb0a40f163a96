"""What this machine carries with this database, and which bcrypt cost suits it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import click

from mcp_keys_server.cli.bench_report import Report
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import print_json
from mcp_keys_server.server.bench.bcrypt_costs import cores
from mcp_keys_server.server.bench.progress import Tell
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.whole.moving import require_newest_schema

_STEPS: Final = 1000
_ENDS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=60,
    show_default=True,
    help="For about how long it measures; with less, fewer bcrypt costs.",
)
@click.option(
    "--requests-per-user-and-minute",
    "requests_per_minute",
    type=click.FloatRange(0, 100_000, min_open=True),
    default=12,
    show_default=True,
    help="What is taken for a user, to count those whom a worker carries.",
)
@click.option(
    "--users",
    type=click.IntRange(1, 10_000_000),
    default=1000,
    show_default=True,
    help="How many come at once with keys that have to be checked by bcrypt.",
)
@json_option
@with_settings()
def bench(settings: Settings, *, seconds: float, requests_per_minute: float, users: int, as_json: bool) -> None:
    """Measure which bcrypt cost suits this machine, and how many users one worker carries.

    Nothing in the database is changed, and no key of its users is needed: it is looked into, and keys of a temporary
    database are verified. What else this machine does meanwhile counts, so measure where and when it will be as busy
    as the server's will be.
    """
    # Imported here, because the SDK takes longer to import than all other commands take to run.
    from mcp_keys_server.server.bench.measuring import measure

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None

    async def run() -> None:
        with _progress() as tell:
            await require_newest_schema(settings.database)  # or else to open it would bring it up to date
            async with key_ring_of(settings) as ring:
                findings = await measure(ring.store, settings, seconds, tell)
        report = Report(findings, settings, cores(), load, requests_per_minute=requests_per_minute, users=users)
        if as_json:
            print_json(report.facts())
        else:
            click.echo(report.text())

    with _ended_as_by_ctrl_c():
        anyio.run(run)


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Also by the other signals that ask for an end, so that what is temporary is removed then, too."""
    # A shell has what it starts in the background ignore this one, and then the others would do nothing.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {number: signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT)) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on the terminal that says what is measured, and none elsewhere."""
    with click.progressbar(
        length=_STEPS,
        label="Measuring",
        file=sys.stderr,
        hidden=sys.stderr is None or not sys.stderr.isatty(),
        show_eta=False,
        item_show_func=lambda what: what,
    ) as bar:

        def tell(done: float, what: str) -> None:
            bar.update(int(done * _STEPS) - bar.pos, what)

        yield tell
        bar.update(_STEPS - bar.pos, "done")
