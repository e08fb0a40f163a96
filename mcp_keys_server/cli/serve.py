"""The HTTP service, and the first user that it may begin with."""

from contextlib import closing

import anyio
import click

from mcp_keys_server.cli.options import key_ring_of, with_settings
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.grant import KEYS_ALIAS, RequestedGrant
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.settings import Settings


@click.command()
@click.option("--host", help="The address to listen on.  [setting: host; default: 127.0.0.1]")
@click.option("--port", type=int, help="The port to listen on; 0 picks one.  [setting: port; default: 8000]")
@click.option(
    "--first-user",
    metavar="NAME",
    help="On a database without users: make this user and a first key, and print it once.  [setting: first_user]",
)
@with_settings("host", "port", "first_user")
def serve(settings: Settings) -> None:
    """Serve every user's endpoint, /u/USER_ID/keys/mcp, over HTTP."""
    # Imported here, because the SDK takes longer to import than all other commands take to run.
    from mcp_keys_server.server.app import build_app
    from mcp_keys_server.server.host_policy import host_policy
    from mcp_keys_server.server.http_service import listen, serve_http
    from mcp_keys_server.server.log_setup import set_up_logging

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            with closing(listen(settings.host, settings.port)) as listener:
                host, port, *_ = listener.getsockname()
                policy = host_policy(settings, port=port)
                app = build_app(ring, policy)
                first_key = await _first_key(ring, settings.first_user)
                _announce(settings, f"{host}:{port}", policy.public_url, first_key)
                await serve_http(app, listener)

    set_up_logging(settings.log_level)
    anyio.run(run)


async def _first_key(ring: KeyRing, first_user: str | None) -> ApiKey | None:
    """A key for the first user, if there is to be one and there are no users yet."""
    if first_user is None or await ring.administration.list_users():
        return None
    await ring.administration.add_user(first_user)
    _, key = await ring.administration.create_key(first_user, name="First key", requested=RequestedGrant())
    return key


def _announce(settings: Settings, listening_on: str, public_url: str, key: ApiKey | None) -> None:
    from mcp_keys_server.server.endpoints import endpoint_path

    click.echo(f"Listening on  {listening_on}")
    click.echo(f"Database      {settings.database}")
    click.echo(f"Endpoints     {public_url}{endpoint_path('USER_ID', KEYS_ALIAS)}")
    if settings.first_user is not None:
        if key is None:
            click.echo("There are users already, so no first user was made. For a key: mcp-keys-server keys create")
        else:
            url = public_url + endpoint_path(settings.first_user, KEYS_ALIAS)
            click.echo(_first_steps(settings, url, key.reveal()))
    click.echo("Ctrl+C stops the server.")


def _first_steps(settings: Settings, url: str, plaintext: str) -> str:
    from mcp_keys_server.server import client_config

    return f"""
The first user is {settings.first_user}. This is their API key; it is shown this once:

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
