"""What ``serve`` tells an operator to do next, and the first user that it may begin with."""

import shlex

import click

from mcp_keys_server.cli.output import hand_over
from mcp_keys_server.core.grant import KEYS_ALIAS, RequestedGrant
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.client_config import Client, Endpoint, inspector, local_program, snippet
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
    endpoint = Endpoint(url)
    desktop = snippet(Client.CLAUDE_DESKTOP, endpoint, alias=KEYS_ALIAS, key=plaintext)
    local = snippet(Client.CLAUDE_DESKTOP, local_program(settings.database), alias="keys-local", key=plaintext)
    code = snippet(Client.CLAUDE_CODE, endpoint, alias=KEYS_ALIAS, key=plaintext)
    return f"""
The first user is {user_id}. This is their API key; it is shown this once:

  key       {plaintext}
  endpoint  {url}

Claude Desktop, through mcp-remote (claude_desktop_config.json):
{desktop.text}

Claude Desktop, on this machine without HTTP:
{local.text}

Claude Code:
  {code.text}

MCP Inspector:
  {inspector(url, plaintext)}
"""
