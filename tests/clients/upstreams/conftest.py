"""One gateway for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.clients.node_clients import NodeClients
from tests.clients.upstreams.aliases import Behind, all_behind


@pytest.fixture(scope="package")
def behind(node_clients: NodeClients, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with all_behind(node_clients, tmp_path_factory.mktemp("behind")) as all_of_them:
        yield all_of_them
