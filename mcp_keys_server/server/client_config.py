"""What to paste into which client."""

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

MCP_REMOTE = "mcp-remote@0.15.1"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"


def claude_desktop_remote(url: str, key: str) -> str:
    """Claude Desktop starts programs only, so mcp-remote stands between. The header comes from the environment,
    because on Windows an argument with a space is taken apart.
    """
    return _desktop(
        "keys",
        {
            "command": "npx",
            "args": ["-y", MCP_REMOTE, url, "--header", "Authorization:${AUTH_HEADER}", *_if_not_https(url)],
            "env": {"AUTH_HEADER": f"Bearer {key}"},
        },
    )


def claude_desktop_stdio(database: Path, key: str) -> str:
    """The program itself, started by Claude Desktop on the same machine as the database."""
    program, *arguments = installed_program()
    return _desktop(
        "keys-local",
        {
            "command": program,
            "args": [*arguments, "stdio", "--database", str(database)],
            "env": {"MCP_KEYS_API_KEY": key},
        },
    )


def claude_code(url: str, key: str) -> str:
    return shlex.join(
        ["claude", "mcp", "add", "--transport", "http", "keys", url, "--header", f"Authorization: Bearer {key}"]
    )


def inspector(url: str, key: str) -> str:
    header = f"Authorization: Bearer {key}"
    command = ["npx", "-y", INSPECTOR, "--cli", url, "--transport", "http", "--header", header]
    return shlex.join([*command, "--method", "tools/call", "--tool-name", "whoami"])


def installed_program() -> list[str]:
    """How this program is started, by its real path, whatever the PATH of the client may be."""
    python = Path(sys.executable)
    script = python.with_name("mcp-keys-server" + python.suffix)  # .exe on Windows
    return [str(script)] if script.is_file() else [sys.executable, "-m", "mcp_keys_server"]


def _if_not_https(url: str) -> list[str]:
    """What mcp-remote asks for before it sends a key in the clear to another machine."""
    plain = urlsplit(url)
    return ["--allow-http"] if plain.scheme == "http" and plain.hostname not in ("localhost", "127.0.0.1") else []


def _desktop(name: str, entry: dict[str, object]) -> str:
    return json.dumps({"mcpServers": {name: entry}}, indent=2)
