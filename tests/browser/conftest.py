"""One Chromium and one site for all of these tests. What imports Playwright is imported only where that is there."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Never

import pytest

from tests.browser.needed import HOW_TO_GET_IT, all_there
from tests.browser.site import Site, running_site
from tests.clients.node_clients import installed_node_clients
from tests.conftest import KEY
from tests.replicas import DEPLOYMENTS

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.browser.axe import Axe
    from tests.browser.screenshots import Screenshots
    from tests.browser.visit import Visit

SCREENSHOTS = "MCP_KEYS_TEST_SCREENSHOTS"


class ModuleLeftOut(pytest.Module):
    def collect(self) -> Never:
        pytest.skip(HOW_TO_GET_IT, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if all_there() else ModuleLeftOut.from_parent(parent, path=module_path)


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """As everywhere, but with one event loop for all of these tests, because the browser belongs to one."""
    return "asyncio"


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator["Browser"]:
    from tests.browser.chromium import running_chromium

    async with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session", params=DEPLOYMENTS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of deployment; the pages are tried with all of them."""
    return str(request.param)


@pytest.fixture(scope="package")
def site(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """It serves Ada, logs all it can, and has logged no key when it stops."""
    with running_site(kind, tmp_path_factory.mktemp("site"), MCP_KEYS_LOG_LEVEL="debug") as running:
        yield running
    for log in running.server.logs:
        assert not KEY.search(log)


@pytest.fixture
async def visit(browser: "Browser") -> AsyncIterator["Visit"]:
    """What opens pages. A trouble on any of them fails the test, unless the test expects it."""
    from tests.browser.visit import Visit

    async with Visit(browser) as visit:
        yield visit
    assert visit.troubles.report() == []


@pytest.fixture(scope="session")
def axe() -> "Axe":
    from tests.browser import axe

    return axe.Axe(installed_node_clients().file(axe.PACKAGE, "axe.min.js").read_text())


@pytest.fixture
def screenshots(tmp_path: Path) -> "Screenshots":
    from tests.browser.screenshots import Screenshots

    return Screenshots(Path(os.getenv(SCREENSHOTS) or tmp_path))
