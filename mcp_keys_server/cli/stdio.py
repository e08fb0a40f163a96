"""The key tools for one client on this machine."""

import gc
import os
import sys

import anyio
import click

from mcp_keys_server.cli.options import key_ring_of, with_settings
from mcp_keys_server.core.errors import InvalidApiKeyError, NotPermittedError
from mcp_keys_server.settings import Settings, SettingsError


@click.command()
@with_settings()
def stdio(settings: Settings) -> None:
    """Serve the key tools over standard input and output.

    They act for the owner of the key in the environment variable MCP_KEYS_API_KEY.
    """
    presented = os.environ.get("MCP_KEYS_API_KEY", "").strip()
    if not presented:
        raise SettingsError("MCP_KEYS_API_KEY: set it to the API key with which this is to act")
    if sys.stdin is None or sys.stdout is None:
        raise SettingsError("standard input and output: they are closed; this program is started by a client")
    # Imported here, because the SDK takes longer to import than all other commands take to run.
    gc.disable()
    from mcp_keys_server.server.core_file import write_no_core_file
    from mcp_keys_server.server.log_setup import set_up_logging
    from mcp_keys_server.server.stdio import admit, key_tools, serve_stdio

    gc.freeze()  # what is imported is no garbage for good, and to look through it would take a tenth of the time
    gc.enable()

    async def run() -> None:
        async with key_ring_of(settings) as ring:
            try:
                await admit(ring.verifier, presented)
            except (InvalidApiKeyError, NotPermittedError) as error:
                raise SettingsError(f"MCP_KEYS_API_KEY: {error}") from None
            await serve_stdio(ring, presented, key_tools(ring, settings))

    set_up_logging(settings.log_level)
    write_no_core_file()
    anyio.run(run)
