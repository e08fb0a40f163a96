"""The HTTP service."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import anyio
import click

from mcp_keys_server.cli.configuration import SettingsSource
from mcp_keys_server.cli.options import key_ring_of, public_url_option, with_source
from mcp_keys_server.stores.opening import open_counters


@click.command()
@click.option("--host", help="The address to listen on.  [setting: host; default: 127.0.0.1]")
@click.option("--port", type=int, help="The port to listen on; 0 picks one.  [setting: port; default: 8000]")
@click.option(
    "--first-user",
    metavar="NAME",
    help="Whom to invite when nobody has a key yet.  [setting: first_user; default: the account's name]",
)
@click.option(
    "--print-key",
    is_flag=True,
    default=None,
    help="Make that user's first key at once and print it, instead of an invitation.  [setting: print_key]",
)
@click.option("--workers", type=int, help="How many processes serve.  [setting: workers; default: 1]")
@public_url_option
@with_source("host", "port", "first_user", "print_key", "workers", "public_url")
def serve(source: SettingsSource) -> None:
    """Serve every user's endpoint, /u/USER_ID/keys/mcp, over HTTP.

    There are more settings than flags; the README has them all. On SIGHUP the upstreams are read again from the file.
    """
    # Imported here, because the SDK takes longer to import than all other commands take to run.
    from mcp_keys_server.cli.welcome import welcome
    from mcp_keys_server.server.app import build_app
    from mcp_keys_server.server.core_file import write_no_core_file
    from mcp_keys_server.server.file_limit import raise_file_limit
    from mcp_keys_server.server.gateway.gateway import Gateway
    from mcp_keys_server.server.host_policy import host_policy
    from mcp_keys_server.server.http_service import listen, serve_http
    from mcp_keys_server.server.log_setup import set_up_logging
    from mcp_keys_server.server.operation import operated
    from mcp_keys_server.server.workers import check_workers, keep_workers

    def announce() -> None:
        click.echo("Ctrl+C stops the server.")

    async def run(ready: Callable[[], None] | None, *, first: bool) -> None:
        async with (
            key_ring_of(settings, create=first) as ring,
            open_counters(settings.rate_limit_storage, ring.counters) as counters,
        ):
            gateway = Gateway(ring, policy, settings)
            app = build_app(ring, policy, settings, counters=counters, gateway=gateway)
            if first:
                click.echo(f"Listening on  {host}:{port}")
                click.echo(f"Database      {settings.database}")
                await welcome(ring, settings, policy.public_url)
            if ready is not None:
                async with operated(gateway, settings, source.load_to_serve if source.config else None):
                    await serve_http(app, listener, ready)

    settings = source.load_to_serve()
    check_workers(settings.workers, settings.upstreams)
    set_up_logging(settings.log_level)
    raise_file_limit()
    write_no_core_file()
    with closing(listen(settings.host, settings.port)) as listener:
        host, port, *_ = listener.getsockname()
        policy = host_policy(settings, port=port)
        if settings.workers == 1:
            anyio.run(partial(run, announce, first=True))
        else:
            anyio.run(partial(run, None, first=True))
            worker = keep_workers(settings.workers, announce)
            if worker is not None:
                anyio.run(partial(run, worker.is_ready, first=False))
