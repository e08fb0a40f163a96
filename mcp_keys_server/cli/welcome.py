"""What ``serve`` tells an operator to do next, and the first user that it begins with."""

import getpass
import re
import shlex
from typing import Final

import click

from mcp_keys_server.cli.output import hand_over_new_key, print_invitation
from mcp_keys_server.core.field_rules import LONGEST_WORD
from mcp_keys_server.core.grant import KEYS_ALIAS, RequestedGrant
from mcp_keys_server.core.records import UserRecord
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.client_config import Client, Endpoint, inspector, local_program, snippet
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.upstreams import ProgramUpstream

FIRST_KEY: Final = "First key"
_SOMEBODY: Final = "me"


async def welcome(ring: KeyRing, settings: Settings, public_url: str) -> None:
    """Print what to do next. While nobody has ever had a key, that is an invitation for the first user."""
    await ring.store.note_public_url(public_url)
    click.echo(f"Endpoints     {public_url}{endpoint_path('USER_ID', KEYS_ALIAS)}")
    click.echo(f"Pages         {public_url}/keys/")
    if settings.upstreams:
        click.echo(f"Aliases       {', '.join((KEYS_ALIAS, *settings.upstreams))}")
    if settings.upstream_uids is None and any(
        isinstance(each, ProgramUpstream) for each in settings.upstreams.values()
    ):
        click.echo("Programs      behind aliases run as the user of this server, and can read the key database")
    if isinstance(settings.database, PostgresUrl) and not (settings.proof_secret or settings.proof_secret_file):
        click.echo(
            "Restarts      forget which keys bcrypt has proven; with proof_secret_file it runs once for each key"
        )
    at = f"--database {shlex.quote(str(settings.database))}"
    if await ring.store.has_secrets():
        unmade = "" if settings.first_user is None else "There are keys already, so nobody was invited. "
        click.echo(f"{unmade}For another user: mcp-keys-server users invite USER_ID {at}")
        return
    user = await _first_user(ring, settings)
    if settings.print_key:
        record, key = await ring.administration.create_key(user.user_id, name=FIRST_KEY, requested=RequestedGrant())
        url = public_url + endpoint_path(user.user_id, KEYS_ALIAS)
        await hand_over_new_key(ring, record, _paste(url, user.user_id, key.reveal(), settings))
        return
    invitation = await ring.invitations.invite(user.user_id, name=FIRST_KEY, requested=RequestedGrant())
    click.echo(f"\nNobody has a key yet. The first user is {user.user_id} (--first-user NAME for another).")
    print_invitation(invitation, public_url)


async def _first_user(ring: KeyRing, settings: Settings) -> UserRecord:
    if settings.first_user is None:
        users = await ring.administration.list_users()
        if users:
            return users[0]
    return await ring.administration.find_or_add_user(settings.first_user or account(), email=None, name=None)


def account() -> str:
    """The name of the account that runs this, as a user id."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name, as in some containers
        return _SOMEBODY
    return re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-")[:LONGEST_WORD] or _SOMEBODY


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
