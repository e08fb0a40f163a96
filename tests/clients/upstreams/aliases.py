"""Servers that others wrote, behind aliases of one gateway."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.connections import MODERN
from tests.clients.node_clients import NodeClients
from tests.conftest import KEY
from tests.databases import SqliteDatabase
from tests.embedding.processes import free_port, running
from tests.running_server import ADA, RunningServer, environment, run, running_server

EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
FILESYSTEM = "@modelcontextprotocol/server-filesystem@2026.8.31"
MEMORY = "@modelcontextprotocol/server-memory@2026.8.31"
TIME = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]
FASTMCP = [sys.executable, str(Path(__file__).with_name("fastmcp_server.py"))]
CONFORMANCE = [sys.executable, "-m", "tests.clients.upstreams.conformance_server"]
PYTHONPATH = str(Path(__file__).parents[3])
"""Where the tests are, for the server that is of several modules."""

CALLS_AT_ONCE = 200


@dataclass(frozen=True)
class Behind:
    """A gateway with all of them behind it."""

    server: RunningServer
    bobs_key: str
    folder: Path
    """Where the programs keep what they write."""
    urls: dict[str, str]
    """Where those that speak HTTP are, by alias; the gateway is not on the way."""

    @property
    def adas_key(self) -> str:
        return self.server.first_key

    def endpoint(self, alias: str, user: str = "ada") -> str:
        return self.server.endpoint(user, alias)


@contextmanager
def all_behind(node: NodeClients, folder: Path) -> Iterator[Behind]:
    everything = node.program(EVERYTHING)
    elsewhere = {
        "everything-http": [*everything, "streamableHttp"],
        "fastmcp-http": FASTMCP,
        "conformance-http": CONFORMANCE,
    }
    urls = {}
    with ExitStack() as servers:
        for alias, command in elsewhere.items():
            port = free_port()
            place = folder / alias
            place.mkdir()
            variables = environment(PORT=str(port), HOME=str(place), PYTHONPATH=PYTHONPATH)
            servers.enter_context(running([*command, str(port)], place, port=port, environment=variables))
            urls[alias] = f"http://127.0.0.1:{port}/mcp"
        programs = {
            "everything": [*everything, "stdio"],
            "filesystem": [*node.program(FILESYSTEM), "{data_dir}/{user_id}"],
            "memory": node.program(MEMORY),
            "time": TIME,
            "fastmcp": FASTMCP,
            "fastmcp-current": FASTMCP,
            "conformance": CONFORMANCE,
            "conformance-current": CONFORMANCE,
        }
        config = folder / "config.toml"
        config.write_text(_described(folder / "upstreams", programs, urls))
        database = SqliteDatabase(folder / "data" / "keys.db")
        server = servers.enter_context(
            running_server(database, "--config", str(config), *ADA, MCP_KEYS_LOG_LEVEL="debug")
        )
        yield Behind(server, _key_of_bob(database), folder / "upstreams", urls)
    (log,) = server.logs
    assert "accepted: " in log
    assert not KEY.search(log)


def _environment(alias: str) -> str:
    match alias:
        case "memory":
            return 'MEMORY_FILE_PATH = "{data_dir}/{user_id}/memory.json"'
        case "conformance" | "conformance-current":
            return f"PYTHONPATH = {json.dumps(PYTHONPATH)}"
        case _:
            return ""


def _described(data: Path, programs: Mapping[str, Sequence[str]], urls: Mapping[str, str]) -> str:
    lines = [
        'upstream_uids = "none"',  # the interpreter that runs the tests may be where no other user gets to
        f"upstream_data_dir = {json.dumps(str(data))}",
        "calls_per_minute = 1000000",
    ]
    for alias, command in programs.items():
        lines += [
            f"[upstreams.{alias}]",
            f"command = {json.dumps(command)}",
            f"calls_at_once = {CALLS_AT_ONCE}",
            f"env = {{ {_environment(alias)} }}",
        ]
        if alias.endswith("-current"):
            lines.append(f'protocol = "{MODERN}"')
    for alias, url in urls.items():
        lines += [f"[upstreams.{alias}]", f"url = {json.dumps(url)}", "allow_private = true"]
    return "\n".join(lines)


def _key_of_bob(database: SqliteDatabase) -> str:
    assert run("users", "add", "bob", "--database", str(database)).returncode == 0
    made = run("keys", "create", "--user", "bob", "--name", "Laptop", "--database", str(database), "--json")
    assert made.returncode == 0, made.stderr
    key: str = json.loads(made.stdout)["key"]
    return key
