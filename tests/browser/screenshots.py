"""Pages as people see them, for people to look at."""

from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page


@dataclass(frozen=True)
class Screenshots:
    folder: Path

    async def take(self, page: Page, name: str) -> Path:
        """The whole page, also what one would have to scroll to."""
        file = self.folder / f"{name}.png"
        await page.screenshot(path=file, full_page=True, animations="disabled")
        return file
