"""The program as it is deployed: one server on a database of either kind, or two behind nginx on one of PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.databases import KINDS, Database, needs_postgres
from tests.embedding.processes import free_port, running
from tests.embedding.proxies import nginx
from tests.embedding.readme_examples import example
from tests.running_server import RunningServer, running_server

REPLICAS = "replicas"
DEPLOYMENTS = [*KINDS, pytest.param(REPLICAS, marks=needs_postgres)]


@contextmanager
def serving(kind: str, database: Database, folder: Path, *arguments: str, **more: str) -> Iterator[RunningServer]:
    """``serve``, or two of them as one, which take turns at each request."""
    if kind != REPLICAS:
        with running_server(database, *arguments, **more) as server:
            yield server
        return
    port = free_port()
    settings = {
        "MCP_KEYS_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "MCP_KEYS_TRUSTED_PROXY_ADDRESSES": "127.0.0.1",
        **more,
    }
    with (
        running_server(database, *arguments, **settings) as one,
        running_server(database, **settings) as other,
        round_robin(folder / "nginx", port, one, other),
    ):
        yield replace(one, base_url=f"http://127.0.0.1:{port}", others=(other,))


@contextmanager
def round_robin(folder: Path, port: int, one: RunningServer, other: RunningServer) -> Iterator[None]:
    """The README's nginx before these two, on this port."""
    folder.mkdir(parents=True)
    addresses = {
        "listen 8080": f"listen 127.0.0.1:{port}",
        "10.0.0.11:8000": one.base_url.removeprefix("http://"),
        "10.0.0.12:8000": other.base_url.removeprefix("http://"),
    }
    with running(nginx(folder, example("replicas", addresses)), folder, port=port):
        yield
