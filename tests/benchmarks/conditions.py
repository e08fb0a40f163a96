"""Under which conditions a run was made."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks.bench import Effort
from tests.benchmarks.peers.environment import peer_versions
from tests.benchmarks.rounds import RULE
from tests.databases import PostgresDatabase, has_postgres

_PACKAGES = (
    "mcp-keys-server",
    "mcp",
    "bcrypt",
    "asyncpg",
    "anyio",
    "pydantic",
    "starlette",
    "uvicorn",
    "httptools",
    "fastmcp",
)


def conditions(arguments: Sequence[str], effort: Effort) -> dict[str, str]:
    """What somebody needs to know in order to judge the figures, or to repeat them."""
    return {
        "command": " ".join(["python -m tests.benchmarks", *arguments]),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} processes on average in the minute before",
        "versions": ", ".join(
            [
                f"{platform.python_implementation()} {platform.python_version()}",
                *(f"{name} {version(name)}" for name in _PACKAGES),
                f"SQLite {sqlite3.sqlite_version}",
                *([f"PostgreSQL {_postgres_version()}"] if has_postgres() else []),
            ]
        ),
        "peers": peer_versions(),
        "method": f"contestants take turns in {effort.rounds} rounds after one that does not count; in this process "
        f"{effort.calls:,} calls a round with garbage collection off, of peers {effort.peer_seconds:g} s; over HTTP "
        f"{effort.seconds:g} s a round on {effort.connections} connections (through the gateway {effort.hop_seconds:g} "
        "s, also on one, and no round is dropped) with the server collecting as it does when it serves; "
        f"{effort.storm_seconds:g} s a round of cold keys, {effort.usage_seconds:g} s of bookkeeping, and "
        f"{effort.long_rounds} rounds of what takes many seconds; bcrypt at cost {effort.bcrypt_cost}, of a storm of "
        f"cold keys {effort.storm_cost}, and of the users after a restart {CHEAPEST_COST}, where a key has no proof",
        "disturbance": RULE,
    }


def _postgres_version() -> str:
    ((shown,),) = PostgresDatabase("public", Path()).sql("SHOW server_version")
    return str(shown)


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    if about.exists():
        for line in about.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
