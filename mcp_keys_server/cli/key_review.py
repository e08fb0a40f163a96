"""What is worth a look, fit for a job that runs every night."""

from collections.abc import Sequence

import anyio
import click

from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import print_json, print_table
from mcp_keys_server.core.review import EXPIRING_DAYS, UNUSED_DAYS, Finding
from mcp_keys_server.settings import Settings


@click.command("review")
@click.option("--user", metavar="USER", help="Only this user's keys: a user id or e-mail.")
@click.option(
    "--unused-days",
    type=float,
    default=UNUSED_DAYS,
    show_default=True,
    metavar="N",
    help="After how many days without use a key is found.",
)
@click.option(
    "--expiring-days",
    type=float,
    default=EXPIRING_DAYS,
    show_default=True,
    metavar="N",
    help="How many days before its end a key is found.",
)
@json_option
@with_settings()
def review_keys(
    settings: Settings, *, user: str | None, unused_days: float, expiring_days: float, as_json: bool
) -> int:
    """Find keys that are unused, about to expire, rotated halfway or broader than needed.

    When there are any, it ends with exit code 1.
    """

    async def run() -> Sequence[Finding]:
        async with key_ring_of(settings) as ring:
            return await ring.administration.review_keys(user, unused_days=unused_days, expiring_days=expiring_days)

    found = anyio.run(run)
    rows = [
        {
            "key_id": finding.key.key_id,
            "user_id": finding.key.user_id,
            "name": finding.key.name,
            "kind": finding.kind,
            "sentence": finding.sentence,
        }
        for finding in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("key_id", "user_id", "name", "kind", "sentence"), nothing="Nothing was found.")
    return 1 if found else 0
