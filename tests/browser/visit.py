"""The pages that one test opens."""

from contextlib import AsyncExitStack
from typing import Self

from playwright.async_api import Browser, Page

from tests.browser.look import DESKTOP_LIGHT, Look
from tests.browser.troubles import Troubles


class Visit:
    """Pages in contexts of their own, like visitors who know nothing of each other; closed at the end."""

    def __init__(self, browser: Browser) -> None:
        self.troubles = Troubles()
        self._browser = browser
        self._contexts = AsyncExitStack()

    async def open(self, look: Look = DESKTOP_LIGHT, *, javascript: bool = True) -> Page:
        """An empty page; ``page.context.new_page()`` opens another that shares its cookies."""
        context = await self._contexts.enter_async_context(await look.context(self._browser, javascript=javascript))
        self.troubles.watch(context)
        return await context.new_page()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._contexts.aclose()
