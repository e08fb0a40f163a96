"""axe-core, which finds what keeps people from using a page, as ``.ci/install-node-clients`` installed it."""

from typing import Any

import anyio
from playwright.async_api import Page

PACKAGE = "axe-core@4.14.1"
GRAVE = ("serious", "critical")
SECONDS = 30


class Axe:
    def __init__(self, source: str) -> None:
        self._source = source

    async def violations(self, page: Page) -> list[str]:
        """The grave ones, each with an element that it is about; on a page where JavaScript is on.

        The page's policy does not matter, because what a debugger evaluates is not subject to it.
        """
        with anyio.fail_after(SECONDS):
            await page.evaluate(self._source)
            result: dict[str, Any] = await page.evaluate("axe.run()")
        return [
            f"{found['id']} ({found['impact']}): {found['help']}: {node['html']}"
            for found in result["violations"]
            if found["impact"] in GRAVE
            for node in found["nodes"]
        ]
