"""Keys changed that go on: with a new secret, or narrower."""

import anyio
import click

from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import facts_text, hand_over, json_text, key_row, print_facts, print_json
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.field_rules import check_overlap
from mcp_keys_server.core.grant import AS_IT_IS, RequestedGrant
from mcp_keys_server.core.key_manager import OVERLAP_HOURS
from mcp_keys_server.settings import Settings

FIELDS_OF_A_ROTATED_KEY = ("key_id", "user_id", "name", "scopes", "aliases", "tools", "expires_at")


@click.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=float,
    default=OVERLAP_HOURS,
    show_default=True,
    metavar="H",
    help="How long the secret before stays good as well; 0 ends it at once.",
)
@json_option
@with_settings()
def rotate_key(settings: Settings, *, key_id: str, overlap_hours: float, as_json: bool) -> None:
    """Give a key a new secret and print it, this once. All else of the key stays."""
    at_once = not check_overlap(overlap_hours)

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            # The secret before is needed again when the new one cannot be printed: so it is ended when that is done.
            hours = OVERLAP_HOURS if at_once else overlap_hours
            record, key = await ring.administration.rotate_key(key_id, overlap_hours=hours)
            row = key_row(record, utc_now())
            shown = {"key": key.reveal()} | {field: row[field] for field in FIELDS_OF_A_ROTATED_KEY}
            shown["older_secret_ends_at"] = utc_now() if at_once else record.secrets[1].ends_at
            text = json_text(shown) if as_json else facts_text(shown)
            await hand_over(text, lambda: ring.administration.take_back_secret(key_id, prefix=key.prefix))
            if at_once:
                await ring.administration.end_older_secrets(key_id)

    anyio.run(run)


@click.command("update")
@click.argument("key_id")
@click.option("--name", help="What the key is for.")
@click.option("--scopes", help="What the key may still do, separated by spaces.")
@click.option("--aliases", help="The endpoints that the key still opens, separated by spaces.")
@click.option("--tools", help="The tools that the key may still call there: 'ALIAS:TOOL ...', also with *.")
@click.option("--expires-in-days", type=float, metavar="D", help="How long the key lives from now on.")
@json_option
@with_settings()
def update_key(
    settings: Settings,
    *,
    key_id: str,
    name: str | None,
    scopes: str | None,
    aliases: str | None,
    tools: str | None,
    expires_in_days: float | None,
    as_json: bool,
) -> None:
    """Rename a key, or narrow it and all that it made.

    A key is never given more than it has: create another one for that.
    """
    requested = RequestedGrant(
        scopes=None if scopes is None else frozenset(scopes.split()),
        aliases=None if aliases is None else frozenset(aliases.split()),
        expires_in_days=expires_in_days,
        tools=None if tools is None else frozenset(tools.split()),
    )
    if name is None and requested == AS_IT_IS:
        raise click.UsageError("Give at least one of --name, --scopes, --aliases, --tools and --expires-in-days.")

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            row = key_row(await ring.administration.update_key(key_id, name=name, requested=requested), utc_now())
        (print_json if as_json else print_facts)(row)

    anyio.run(run)
