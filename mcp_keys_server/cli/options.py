"""Options that commands share, and the settings that come of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from mcp_keys_server.cli.configuration import SettingsSource
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.key_ring import KeyRing, open_key_ring
from mcp_keys_server.server.addresses import public_url
from mcp_keys_server.settings import Settings

Command = Callable[..., Any]

public_url_option = click.option(
    "--public-url",
    metavar="URL",
    help="How clients reach the server.  [setting: public_url; default: host and port, as last served]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_settings(*flags: str) -> Callable[[Command], Command]:
    """Give a command its settings as its first argument, made of these flags of its own and of the common ones."""

    def decorate(command: Command) -> Command:
        @with_source(*flags)
        @wraps(command)
        def with_its_settings(source: SettingsSource, /, **given: Any) -> object:  # noqa: ANN401 - whatever options the command has
            return command(source.load(), **given)

        return with_its_settings

    return decorate


def with_source(*flags: str) -> Callable[[Command], Command]:
    """Give a command, in the place of its settings, where they come from."""

    def decorate(command: Command) -> Command:
        @click.option(
            "--database",
            metavar="FILE|URL",
            help="The SQLite file, or postgresql://USER@HOST/DATABASE.  "
            "[setting: database; default: keys.db in the user's data folder]",
        )
        @click.option(
            "--config", type=click.Path(path_type=Path), envvar="MCP_KEYS_CONFIG", help="A TOML file of settings."
        )
        @wraps(command)
        def with_its_source(database: str | None, config: Path | None, **given: Any) -> object:  # noqa: ANN401 - as above
            chosen = {"database": database, **{flag: given.pop(flag) for flag in flags}}
            return command(SettingsSource(config, chosen), **given)

        return with_its_source

    return decorate


@asynccontextmanager
async def key_ring_of(settings: Settings, *, create: bool = False) -> AsyncIterator[KeyRing]:
    """The key ring of these settings. Only what begins something makes a database: elsewhere a path is mistyped."""
    async with open_key_ring(
        settings.database,
        create=create,
        connections=settings.database_connections,
        key_tag=settings.key_tag,
        bcrypt_cost=settings.bcrypt_cost,
        proof_secret=settings.proof_secret.get_secret_value() if settings.proof_secret else settings.proof_secret_file,
        policy=KeyPolicy(
            default_expiry_days=settings.default_expiry_days,
            max_expiry_days=settings.max_expiry_days,
            max_live_keys=settings.max_live_keys_per_user,
            max_changes_per_hour=settings.changes_per_hour,
        ),
        claim_life=timedelta(minutes=settings.claim_minutes),
        invitation_life=timedelta(days=settings.invitation_days),
    ) as ring:
        yield ring


async def public_url_of(settings: Settings, ring: KeyRing) -> str:
    """How clients reach the server: as it is set, or as it was served last, or as it would be."""
    return settings.public_url or await ring.store.noted_public_url() or public_url(settings, port=settings.port)
