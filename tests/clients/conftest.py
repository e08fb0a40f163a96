"""One server for all of these tests, and the clients that are installed beside it."""

from collections.abc import Iterator

import pytest

from tests.clients.node_clients import NodeClients, installed_node_clients
from tests.conftest import KEY
from tests.databases import Database, a_database
from tests.replicas import DEPLOYMENTS, serving
from tests.running_server import ADA, RunningServer


@pytest.fixture(scope="session", params=DEPLOYMENTS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of deployment; each client is tried with all of them."""
    return str(request.param)


@pytest.fixture(scope="package")
def database(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with a_database(kind, tmp_path_factory.mktemp("data")) as empty:
        yield empty


@pytest.fixture(scope="package")
def server(kind: str, database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It serves Ada, logs all it can, and has logged no key when it stops."""
    settings = {"MCP_KEYS_LOG_LEVEL": "debug", "MCP_KEYS_SECRET_DELIVERY": "inline"}
    with serving(kind, database, tmp_path_factory.mktemp("proxy"), *ADA, **settings) as running:
        yield running
    for log in running.logs:
        assert "accepted: " in log
        assert not KEY.search(log)


@pytest.fixture(scope="session")
def node_clients() -> NodeClients:
    return installed_node_clients()
