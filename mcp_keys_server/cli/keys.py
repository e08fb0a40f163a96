"""Everybody's keys, in the hands of the operator."""

import sys

import anyio
import click

from mcp_keys_server.cli.key_changes import rotate_key, update_key
from mcp_keys_server.cli.key_endings import disable_keys, enable_key, revoke_keys
from mcp_keys_server.cli.key_filters import Chosen, with_filters
from mcp_keys_server.cli.key_review import review_keys
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import (
    facts_text,
    hand_over_new_key,
    json_text,
    key_row,
    print_facts,
    print_json,
    print_table,
)
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.settings import Settings

LONGEST_INPUT = 4096
FIELDS_OF_A_NEW_KEY = ("key_id", "user_id", "name", "scopes", "aliases", "tools", "created_at", "expires_at")


@click.group()
def keys() -> None:
    """Create, list, verify, rotate, narrow, review and end API keys."""


for command in (rotate_key, update_key, revoke_keys, disable_keys, enable_key, review_keys):
    keys.add_command(command)


@keys.command("create")
@click.option("--user", required=True, metavar="USER", help="The owner's user id or e-mail.")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scopes", help="What the key may do, separated by spaces.  [default: keys:read keys:write]")
@click.option("--aliases", help="The endpoints that the key opens, separated by spaces.  [default: all]")
@click.option("--tools", help="The tools that the key may call there: 'ALIAS:TOOL ...', also with *.  [default: all]")
@click.option("--expires-in-days", type=float, metavar="D", help="How long the key lives.  [default: for ever]")
@json_option
@with_settings()
def create_key(
    settings: Settings,
    *,
    user: str,
    name: str,
    scopes: str | None,
    aliases: str | None,
    tools: str | None,
    expires_in_days: float | None,
    as_json: bool,
) -> None:
    """Create a key and print it, this once."""

    async def run() -> None:
        requested = RequestedGrant(
            scopes=None if scopes is None else frozenset(scopes.split()),
            aliases=None if aliases is None else frozenset(aliases.split()),
            expires_in_days=expires_in_days,
            tools=None if tools is None else frozenset(tools.split()),
        )
        async with key_ring_of(settings) as ring:
            record, key = await ring.administration.create_key(user, name=name, requested=requested)
            row = key_row(record, utc_now())
            shown = {"key": key.reveal()} | {field: row[field] for field in FIELDS_OF_A_NEW_KEY}
            await hand_over_new_key(ring, record, json_text(shown) if as_json else facts_text(shown))

    anyio.run(run)


@keys.command("list")
@with_filters
@click.option("--all", "include_ended", is_flag=True, help="Also keys that were revoked or not claimed in time.")
@json_option
@with_settings()
def list_keys(settings: Settings, *, chosen: Chosen, include_ended: bool, as_json: bool) -> None:
    """List keys: never their plaintext, which nobody has any more."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            found = await ring.administration.list_keys(
                chosen.user, include_ended=include_ended, fitting=chosen.fitting
            )
        rows = [key_row(key, utc_now()) for key in found]
        if as_json:
            print_json(rows)
        else:
            columns = (
                "key_id",
                "user_id",
                "name",
                "prefix",
                "status",
                "scopes",
                "aliases",
                "tools",
                "expires_at",
                "last_used_at",
            )
            print_table(rows, columns, nothing="There are no such keys.")

    anyio.run(run)


@keys.command("verify")
@json_option
@with_settings()
def verify_key(settings: Settings, *, as_json: bool) -> None:
    """Say whose key standard input holds.

    A key that is refused ends it with exit code 1.
    """

    async def run() -> None:
        # Latin-1 reads anything; what is not a key is refused as such.
        presented = "" if sys.stdin is None else sys.stdin.buffer.read(LONGEST_INPUT).decode("latin-1").strip()
        if not presented:
            raise InvalidFieldError("standard input", "an API key; there is none")
        async with key_ring_of(settings) as ring:
            principal = await ring.verifier.verify(presented)
        row = {
            "user_id": principal.user_id,
            "key_id": principal.key_id,
            "scopes": sorted(principal.grant.scopes),
            "aliases": None if principal.grant.aliases is None else sorted(principal.grant.aliases),
            "tools": None if principal.grant.tools is None else sorted(principal.grant.tools),
            "expires_at": principal.grant.expires_at,
        }
        (print_json if as_json else print_facts)(row)

    anyio.run(run)
