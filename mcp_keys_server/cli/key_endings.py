"""Keys ended, for good or for now: one, or all that fit, which are shown first."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
import click

from mcp_keys_server.cli.key_filters import Chosen, with_filters
from mcp_keys_server.cli.options import json_option, key_ring_of, with_settings
from mcp_keys_server.cli.output import key_row, print_facts, print_json, print_table, table_text
from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.errors import KeyNotFoundError
from mcp_keys_server.core.key_filter import with_descendants
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.settings import Settings

COLUMNS = ("key_id", "user_id", "name", "prefix", "status", "expires_at", "last_used_at")
NOTHING = "There are no such keys."

End = Callable[[KeyRing, str], Awaitable[Sequence[KeyRecord]]]
"""Ends the key with this id; those that it ended."""

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


@click.command("revoke")
@click.argument("key_id", required=False)
@with_filters
@click.option("--cascade", is_flag=True, help="Also all keys that these made, that those made, and so on.")
@click.option("--reason", help="Why, for the record.")
@yes_option
@json_option
@with_settings()
def revoke_keys(
    settings: Settings,
    *,
    key_id: str | None,
    chosen: Chosen,
    cascade: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Revoke the key with this id, or all that fit, for good, from the next request on.

    Keys that fit are shown first, and revoked when that is confirmed.
    """
    _require_one_way(key_id, chosen)

    async def end(ring: KeyRing, key_id: str) -> Sequence[KeyRecord]:
        return await ring.administration.end_key(key_id, reason=reason, cascade=cascade)

    async def end_one(one: str) -> None:
        async with key_ring_of(settings) as ring:
            row = key_row(await ring.administration.revoke_key(one, reason=reason), utc_now())
        (print_json if as_json else print_facts)(row)

    async def find(ring: KeyRing) -> Sequence[KeyRecord]:
        found = await ring.administration.list_keys(chosen.user, fitting=chosen.fitting)
        if not cascade:
            return found
        return with_descendants(found, await ring.administration.list_keys(include_ended=True))

    if key_id is None:
        return _end_those_that_fit(settings, find, end, "revoked", yes=yes, as_json=as_json)
    if cascade:
        anyio.run(_end_all, settings, [key_id], end, as_json)
    else:
        anyio.run(end_one, key_id)
    return 0


@click.command("disable")
@click.argument("key_id", required=False)
@with_filters
@yes_option
@json_option
@with_settings()
def disable_keys(settings: Settings, *, key_id: str | None, chosen: Chosen, yes: bool, as_json: bool) -> int:
    """Refuse the key with this id, or all that fit, until 'keys enable'.

    Keys that fit are shown first, and disabled when that is confirmed.
    """
    _require_one_way(key_id, chosen)

    async def end(ring: KeyRing, key_id: str) -> Sequence[KeyRecord]:
        with suppress(KeyNotFoundError):  # it was revoked since it was shown
            return [await ring.administration.disable_key(key_id)]
        return []

    async def end_one(one: str) -> None:
        async with key_ring_of(settings) as ring:
            row = key_row(await ring.administration.disable_key(one), utc_now())
        (print_json if as_json else print_facts)(row)

    async def find(ring: KeyRing) -> Sequence[KeyRecord]:
        found = await ring.administration.list_keys(chosen.user, fitting=chosen.fitting)
        return [key for key in found if key.disabled_at is None]

    if key_id is None:
        return _end_those_that_fit(settings, find, end, "disabled", yes=yes, as_json=as_json)
    anyio.run(end_one, key_id)
    return 0


@click.command("enable")
@click.argument("key_id")
@json_option
@with_settings()
def enable_key(settings: Settings, *, key_id: str, as_json: bool) -> None:
    """Let a disabled key be used again."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            row = key_row(await ring.administration.enable_key(key_id), utc_now())
        (print_json if as_json else print_facts)(row)

    anyio.run(run)


def _require_one_way(key_id: str | None, chosen: Chosen) -> None:
    if (key_id is None) == chosen.is_everything():
        raise click.UsageError("Give either a KEY_ID or at least one filter, such as --user.")


def _end_those_that_fit(
    settings: Settings,
    find: Callable[[KeyRing], Awaitable[Sequence[KeyRecord]]],
    end: End,
    ended: str,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise click.UsageError(
            "Nobody can be asked, for standard input is no terminal; --yes does it without asking. "
            "'keys list' with the same filters shows which keys these are."
        )

    async def look() -> Sequence[KeyRecord]:
        async with key_ring_of(settings) as ring:
            return await find(ring)

    # Asked outside the event loop, which would take the first Ctrl+C for itself and leave the question standing.
    found = anyio.run(look)
    if found and not yes:
        rows = [key_row(key, utc_now()) for key in found]
        click.echo(table_text(rows, COLUMNS), err=True)
        if not click.confirm(f"These keys will be {ended}, {len(found)} in all. Go on?", err=True):
            click.echo("Nothing was changed.", err=True)
            return 1
    anyio.run(_end_all, settings, [key.key_id for key in found], end, as_json)
    return 0


async def _end_all(settings: Settings, key_ids: Sequence[str], end: End, as_json: bool) -> None:  # noqa: FBT001 - as anyio.run hands it on
    """Exactly those that were shown: what fits only since then was not agreed to."""
    done: list[KeyRecord] = []
    try:
        async with key_ring_of(settings) as ring:
            for key_id in key_ids:
                done += await end(ring, key_id)
    finally:  # each is ended by itself, so when there is trouble with one, those before it are ended all the same
        rows = [key_row(key, utc_now()) for key in done]
        if as_json:
            print_json(rows)
        else:
            print_table(rows, COLUMNS, nothing="No key was ended.")
