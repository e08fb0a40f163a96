"""Users, added, invited, listed, disabled and enabled by the operator."""

import anyio
import click

from mcp_keys_server.cli.options import json_option, key_ring_of, public_url_of, public_url_option, with_settings
from mcp_keys_server.cli.output import print_facts, print_invitation, print_json, print_table, user_row
from mcp_keys_server.cli.welcome import FIRST_KEY
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.server.addresses import invitation_path
from mcp_keys_server.settings import Settings


@click.group()
def users() -> None:
    """Add, invite, list, disable and enable the users whose keys this server manages."""


@users.command("add")
@click.argument("user_id")
@click.option("--email", help="Another way to name the user in --user.")
@click.option("--name", help="The user's full name.")
@json_option
@with_settings()
def add_user(settings: Settings, *, user_id: str, email: str | None, name: str | None, as_json: bool) -> None:
    """Add a user. USER_ID names them in their endpoint, /u/USER_ID/keys/mcp: 1 to 64 of 'a-z 0-9 _ -'."""

    async def run() -> None:
        async with key_ring_of(settings, create=True) as ring:
            row = user_row(await ring.administration.add_user(user_id, email=email, name=name))
        (print_json if as_json else print_facts)(row)

    anyio.run(run)


@users.command("invite")
@click.argument("user")
@click.option("--email", help="Of a new user: another way to name them in --user.")
@click.option("--name", help="Of a new user: their full name.")
@public_url_option
@json_option
@with_settings("public_url")
def invite_user(settings: Settings, *, user: str, email: str | None, name: str | None, as_json: bool) -> None:
    """Print a link with which USER gets a key that nobody else has seen.

    USER is a user id, of somebody new or not, or the e-mail of a user. The link is good once. One that was printed
    before and not used is good no longer.
    """

    async def run() -> None:
        async with key_ring_of(settings, create=True) as ring:
            invited = await ring.administration.find_or_add_user(user, email=email, name=name)
            made = await ring.invitations.invite(invited.user_id, name=FIRST_KEY, requested=RequestedGrant())
            base = await public_url_of(settings, ring)
        if as_json:
            lapses_at = made.key.claim and made.key.claim.lapses_at
            link = {"user_id": invited.user_id, "key_id": made.key.key_id, "lapses_at": lapses_at}
            print_json(link | {"url": base + invitation_path(made.code)})
        else:
            print_invitation(made, base)

    anyio.run(run)


@users.command("list")
@json_option
@with_settings()
def list_users(settings: Settings, *, as_json: bool) -> None:
    """List all users."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            rows = [user_row(user) for user in await ring.administration.list_users()]
        if as_json:
            print_json(rows)
        else:
            columns = ("user_id", "email", "name", "created_at", "disabled_at")
            print_table(rows, columns, nothing="There are no users yet: mcp-keys-server users add USER_ID")

    anyio.run(run)


@users.command("disable")
@click.argument("user")
@json_option
@with_settings()
def disable_user(settings: Settings, *, user: str, as_json: bool) -> None:
    """Refuse all keys, pages and invitations of USER, a user id or e-mail, until 'users enable'."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            row = user_row(await ring.administration.disable_user(user))
        (print_json if as_json else print_facts)(row)

    anyio.run(run)


@users.command("enable")
@click.argument("user")
@json_option
@with_settings()
def enable_user(settings: Settings, *, user: str, as_json: bool) -> None:
    """Let a disabled user and their keys in again. USER is a user id or e-mail."""

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            row = user_row(await ring.administration.enable_user(user))
        (print_json if as_json else print_facts)(row)

    anyio.run(run)
