"""The program: its commands, and how each error ends it."""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

import mcp_keys_server
from mcp_keys_server.core.api_key import redact
from mcp_keys_server.core.errors import InvalidFieldError, KeyNotFoundError, McpKeysError, UserNotFoundError
from mcp_keys_server.settings import SettingsError

REFUSED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130

_WHERE_TO_LOOK: Final[dict[type[McpKeysError], str]] = {
    KeyNotFoundError: "no key has this id, or it was revoked; 'mcp-keys-server keys list --all' shows those there are",
    UserNotFoundError: "nobody has this user id or e-mail; 'mcp-keys-server users list' shows who there is",
}

_COMMANDS: Final = {
    "serve": "serve",
    "stdio": "stdio",
    "users": "users",
    "keys": "keys",
    "upstreams": "upstreams",
    "events": "events",
    "database": "database",
    "config": "config",
    "import": "imports",
    "bench": "bench",
}
"""The modules, each with a command of the same name, by what is typed."""


class _Program(click.Group):
    """Imports a command when it is asked for, because the others would take a sixth of the time until stdio answers."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        gc.disable()  # to look for garbage would take a fifth of the time, and there is none
        module = import_module(f"mcp_keys_server.cli.{_COMMANDS[cmd_name]}")
        gc.enable()
        command = getattr(module, _COMMANDS[cmd_name])
        assert isinstance(command, click.Command)  # noqa: S101 - a wiring error, not an input
        return command


@click.group(
    cls=_Program,
    commands={name: click.Command(name) for name in _COMMANDS},  # in their places, for lists and suggestions
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(mcp_keys_server.__version__, prog_name="mcp-keys-server")
def program() -> None:
    """API keys for MCP, managed over MCP."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (the process's, when None) and give its exit code."""
    try:
        code = program.main(arguments, prog_name="mcp-keys-server", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return MISUSED
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "mcp-keys-server"
        return _end(f"{error.format_message()} See '{command} --help'.", MISUSED)
    except (SettingsError, InvalidFieldError) as error:
        return _end(str(error), MISUSED)
    except McpKeysError as error:
        return _end(_WHERE_TO_LOOK.get(type(error), str(error)), REFUSED)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its encoding has not all of these letters"
        return _end(f"standard input or output cannot be used: {reason}", REFUSED)
    except (click.Abort, KeyboardInterrupt):
        return _end("interrupted", INTERRUPTED)
    else:
        return code or 0


def _end(message: str, code: int) -> int:
    # What was typed may be in the message of a misuse, and what was typed may be a key.
    print(f"mcp-keys-server: {redact(message)}", file=sys.stderr)
    return code
