"""What ``serve`` tells an operator to do next, and the first user that it may begin with."""

import shlex

import click

from mcp_keys_server.cli.output import hand_over
from mcp_keys_server.core.grant import KEYS_ALIAS, RequestedGrant
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server import client_config
from mcp_keys_server.server.endpoints import endpoint_path
from mcp_keys_server.settings import Settings


async def welcome(ring: KeyRing, settings: Settings, public_url: str) -> None:
    """Print what to do next. It makes the first user, with a key, if there is to be one and there is none yet."""
    endpoints = f"Endpoints     {public_url}{endpoint_path('USER_ID', KEYS_ALIAS)}\n"
    at = f"--database {shlex.quote(str(settings.database))}"
    if await ring.administration.list_users():
        unmade = "" if settings.first_user is None else "There are users already, so no first user was made. "
        click.echo(f"{endpoints}{unmade}For a new key: mcp-keys-server keys create --user USER_ID --name NAME {at}")
        return
    if settings.first_user is None:
        click.echo(f"{endpoints}There are no users yet. For the first: mcp-keys-server users add USER_ID {at}")
        return
    user = await ring.administration.add_user(settings.first_user)
    record, key = await ring.administration.create_key(user.user_id, name="First key", requested=RequestedGrant())
    url = public_url + endpoint_path(user.user_id, KEYS_ALIAS)
    await hand_over(ring, record, _paste(url, user.user_id, key.reveal(), settings))


def _paste(url: str, user_id: str, plaintext: str, settings: Settings) -> str:
    return f"""
The first user is {user_id}. This is their API key; it is shown this once:

  key       {plaintext}
  endpoint  {url}

Claude Desktop, through mcp-remote (claude_desktop_config.json):
{client_config.claude_desktop_remote(url, plaintext)}

Claude Desktop, on this machine without HTTP:
{client_config.claude_desktop_stdio(settings.database, plaintext)}

Claude Code:
  {client_config.claude_code(url, plaintext)}

MCP Inspector:
  {client_config.inspector(url, plaintext)}
"""
