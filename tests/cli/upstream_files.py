"""Configuration files with upstreams, and calls to what they describe."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.running_server import RunningServer

PROGRAM = (sys.executable, "-I", "-S", str(Path(__file__).parent.parent / "small_upstream.py"))


def configuration(folder: Path, upstreams: Mapping[str, Mapping[str, object]], *settings: str) -> Path:
    """A file with these; programs run as whoever runs the tests, whose Python others may not be able to run."""
    lines = [*settings, f"upstream_data_dir = {toml(str(folder / 'up'))}", 'upstream_uids = "none"']
    for alias, upstream in upstreams.items():
        lines += [f"[upstreams.{alias}]", *(f"{name} = {toml(value)}" for name, value in upstream.items())]
    path = folder / "mcp-keys.toml"
    path.write_text("\n".join(lines))
    return path


def toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


def small(*words: str, **more: object) -> dict[str, object]:
    """The program of small_upstream.py, with these arguments."""
    return {"command": [*PROGRAM, *words], **more}


def call(server: RunningServer, alias: str = "small", tool: str = "look") -> str:
    """What the first user's tool answers."""

    async def asked() -> str:
        async with httpx2.AsyncClient(headers={"X-API-Key": server.first_key}, timeout=20) as http:
            transport = streamable_http_client(server.endpoint(alias=alias), http_client=http)
            async with Client(transport, cache=None) as client:
                result = await client.call_tool(tool, {})
                return str(getattr(result.content[0], "text", ""))

    return anyio.run(asked)
