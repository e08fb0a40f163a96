"""What to paste into which client, and where."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mcp_keys_server.server.config_formats import Entry, json_text, shell_text, toml_text, yaml_text
from mcp_keys_server.stores.postgres.url import PostgresUrl

MCP_REMOTE = "mcp-remote@0.15.1"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
PLACEHOLDER = "YOUR_KEY"


class Client(StrEnum):
    CLAUDE_DESKTOP = "claude-desktop"
    CLAUDE_CODE = "claude-code"
    VSCODE = "vscode"
    CURSOR = "cursor"
    CODEX = "codex"
    GEMINI = "gemini"
    ZED = "zed"
    LIBRECHAT = "librechat"
    MCP_JSON = "mcp-json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint over HTTP. The key goes into the header of each request."""

    url: str


@dataclass(frozen=True, slots=True)
class LocalProgram:
    """A program that the client starts and speaks to over standard input and output. The key goes into its
    environment.
    """

    command: tuple[str, ...]


Connection = Endpoint | LocalProgram


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to paste, which holds the key."""

    client: Client
    title: str
    where: str
    text: str = field(repr=False)


def snippet(client: Client, connection: Connection, *, alias: str, key: str = PLACEHOLDER) -> Snippet:
    """What connects this client. Among its other servers, the client knows this one by the alias."""
    product = _PRODUCTS[client]
    return Snippet(client, product.title, product.where, product.write(alias, connection, key))


def all_snippets(connection: Connection, *, alias: str, key: str = PLACEHOLDER) -> tuple[Snippet, ...]:
    return tuple(snippet(client, connection, alias=alias, key=key) for client in Client)


def inspector(url: str, key: str) -> str:
    """A command that tries the endpoint."""
    command = ["npx", "-y", INSPECTOR, "--cli", url, "--transport", "http", "--header", _header_line(key)]
    return shell_text([*command, "--method", "tools/call", "--tool-name", "whoami"])


def local_program(database: Path | PostgresUrl) -> LocalProgram:
    """The program that is running, for a client that reaches the same database. A password in its URL is left out."""
    return LocalProgram((*installed_program(), "stdio", "--database", str(database)))


def installed_program() -> list[str]:
    """How this program is started, by its real path, whatever the PATH of the client may be."""
    python = Path(sys.executable)
    script = python.with_name("mcp-keys-server" + python.suffix)  # .exe on Windows
    return [str(script)] if script.is_file() else [sys.executable, "-m", "mcp_keys_server"]


def _claude_desktop(alias: str, connection: Connection, key: str) -> str:
    """Claude Desktop starts programs only, so mcp-remote stands between. The header comes from the environment,
    because on Windows an argument with a space is taken apart.
    """
    if isinstance(connection, LocalProgram):
        return json_text("mcpServers", alias, _program(connection, key))
    url = connection.url
    header = "Authorization:${AUTH_HEADER}"
    remote = LocalProgram(("npx", "-y", MCP_REMOTE, url, "--header", header, *_if_not_https(url)))
    return json_text("mcpServers", alias, _started(remote, AUTH_HEADER=f"Bearer {key}"))


def _if_not_https(url: str) -> list[str]:
    """What mcp-remote asks for before it sends a key in the clear to another machine."""
    plain = urlsplit(url)
    return ["--allow-http"] if plain.scheme == "http" and plain.hostname not in ("localhost", "127.0.0.1") else []


def _claude_code(alias: str, connection: Connection, key: str) -> str:
    # The name and the URL come before -e and --header, because these take all the words that follow them.
    if isinstance(connection, LocalProgram):
        environment = f"MCP_KEYS_API_KEY={key}"
        return shell_text(["claude", "mcp", "add", alias, "-e", environment, "--", *connection.command])
    start = ["claude", "mcp", "add", "--transport", "http", alias, connection.url]
    return shell_text([*start, "--header", _header_line(key)])


def _codex(alias: str, connection: Connection, key: str) -> str:
    if isinstance(connection, LocalProgram):
        return toml_text("mcp_servers", alias, _program(connection, key))
    # By this name, because Codex ignores 'headers' and refuses 'bearer_token'.
    return toml_text("mcp_servers", alias, {"url": connection.url, "http_headers": _headers(key)})


def _librechat(alias: str, connection: Connection, key: str) -> str:
    return yaml_text("mcpServers", alias, _typed(connection, key, http="streamable-http"))


def _json(section: str, entry: Callable[[Connection, str], Entry], alias: str, connection: Connection, key: str) -> str:
    return json_text(section, alias, entry(connection, key))


def _typed(connection: Connection, key: str, http: str = "http") -> Entry:
    return {"type": http if isinstance(connection, Endpoint) else "stdio", **_plain(connection, key)}


def _typed_over_http(connection: Connection, key: str) -> Entry:
    return _typed(connection, key) if isinstance(connection, Endpoint) else _program(connection, key)


def _plain(connection: Connection, key: str) -> Entry:
    if isinstance(connection, LocalProgram):
        return _program(connection, key)
    return {"url": connection.url, "headers": _headers(key)}


def _program(program: LocalProgram, key: str) -> Entry:
    return _started(program, MCP_KEYS_API_KEY=key)


def _started(program: LocalProgram, **environment: str) -> Entry:
    command, *arguments = program.command
    return {"command": command, "args": tuple(arguments), "env": environment}


def _headers(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _header_line(key: str) -> str:
    return f"Authorization: Bearer {key}"


@dataclass(frozen=True, slots=True)
class _Product:
    title: str
    write: Callable[[str, Connection, str], str]
    where: str


_PRODUCTS: Final[Mapping[Client, _Product]] = {
    Client.CLAUDE_DESKTOP: _Product(
        "Claude Desktop",
        _claude_desktop,
        "Merge this into claude_desktop_config.json (macOS: ~/Library/Application Support/Claude/, Windows: "
        "%APPDATA%\\Claude\\, Linux: ~/.config/Claude/) and restart Claude Desktop; npx, where it is named, comes with "
        "Node.js 20 or later.",
    ),
    Client.CLAUDE_CODE: _Product(
        "Claude Code",
        _claude_code,
        "Run this in a terminal, in the project that it is for; '--scope user' after 'add' makes it for all of them.",
    ),
    Client.VSCODE: _Product(
        "VS Code",
        partial(_json, "servers", _typed),
        "Merge this into the mcp.json that the command 'MCP: Open User Configuration' opens (or a project's "
        ".vscode/mcp.json that nobody else gets) and start the server there.",
    ),
    Client.CURSOR: _Product(
        "Cursor",
        partial(_json, "mcpServers", _plain),
        "Merge this into ~/.cursor/mcp.json (or a project's .cursor/mcp.json that nobody else gets) and restart "
        "Cursor.",
    ),
    Client.CODEX: _Product("Codex", _codex, "Add this to ~/.codex/config.toml and start Codex again."),
    Client.GEMINI: _Product(
        "Gemini CLI",
        # Without a type, it may take a URL for one of the older transport.
        partial(_json, "mcpServers", _typed_over_http),
        "Merge this into ~/.gemini/settings.json and start Gemini CLI again.",
    ),
    Client.ZED: _Product(
        "Zed",
        partial(_json, "context_servers", _plain),
        "Merge this into the settings.json that the command 'zed: open settings file' opens (macOS and Linux: "
        "~/.config/zed/, Windows: %APPDATA%\\Zed\\); Zed reads it as soon as it is saved.",
    ),
    Client.LIBRECHAT: _Product(
        "LibreChat",
        _librechat,
        "Merge this into librechat.yaml and restart LibreChat, all of whose users then act with this key; an endpoint "
        "in a private network must be allowed in its mcpSettings as well.",
    ),
    Client.MCP_JSON: _Product(
        "Other clients",
        partial(_json, "mcpServers", _typed),
        "Put this where the client keeps its mcpServers, often a file named mcp.json, and restart the client.",
    ),
}
