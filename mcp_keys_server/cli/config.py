"""What a user pastes into their client."""

import anyio
import click

from mcp_keys_server.cli.options import json_option, key_ring_of, public_url_of, public_url_option, with_settings
from mcp_keys_server.cli.output import print_json
from mcp_keys_server.core.errors import NoDatabaseError
from mcp_keys_server.core.field_rules import parse_alias, parse_user_id
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.server.addresses import endpoint_path, public_url
from mcp_keys_server.server.client_config import PLACEHOLDER, Client, Connection, Endpoint, local_program, snippet
from mcp_keys_server.settings import Settings, SettingsError


@click.command(epilog=f"CLIENT is one of: {', '.join(Client)}.")
@click.argument("client", metavar="CLIENT", type=click.Choice([*map(str, Client)]))
@click.option("--user", metavar="USER_ID", help="Whose endpoint it is.")
@click.option("--alias", default=KEYS_ALIAS, show_default=True, help="Which endpoint, and its name in the client.")
@click.option("--local", is_flag=True, help="For a client on this machine that starts this program, without HTTP.")
@public_url_option
@json_option
@with_settings("public_url")
def config(settings: Settings, *, client: str, user: str | None, alias: str, local: bool, as_json: bool) -> None:
    """Print what to paste into a client.

    YOUR_KEY stands in it where the key belongs. Standard error says where it goes.
    """
    connection = _local(settings, user) if local else anyio.run(_endpoint, settings, user, alias)
    made = snippet(Client(client), connection, alias=parse_alias(alias))
    if as_json:
        print_json({"client": made.client, "title": made.title, "where": made.where, "text": made.text})
        return
    click.echo(made.text)
    click.echo(f"{made.where} Put the key in the place of {PLACEHOLDER}.", err=True)


def _local(settings: Settings, user: str | None) -> Connection:
    if user is not None:
        raise click.UsageError("--user does not go with --local, where the key alone says whose it is.")
    try:
        str(settings.database).encode()
    except UnicodeEncodeError:
        raise SettingsError("database: its path is not UTF-8, as all that is pasted is") from None
    return local_program(settings.database)


async def _endpoint(settings: Settings, user: str | None, alias: str) -> Connection:
    if user is None:
        raise click.UsageError("Missing option '--user', or '--local'.")
    path = endpoint_path(parse_user_id(user), parse_alias(alias))
    if settings.public_url is not None:
        return Endpoint(settings.public_url + path)
    try:
        async with key_ring_of(settings) as ring:
            return Endpoint(await public_url_of(settings, ring) + path)
    except NoDatabaseError:  # which says where it was served last
        if settings.port == 0:
            raise SettingsError("port: it is picked when the server starts; set it, or public_url") from None
        return Endpoint(public_url(settings, port=settings.port) + path)
