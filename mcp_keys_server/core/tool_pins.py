"""What the tools of an upstream looked like when they were first seen, so that it shows when one has changed since."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class ToolPins(Protocol):
    """Keeps digests, in hexadecimal digits, by alias and name of the tool. Every method may raise
    StoreUnavailableError.
    """

    async def pinned(self, alias: str) -> Mapping[str, str]:
        """The digests of the tools at this alias, by name."""

    async def pin(self, alias: str, digests: Mapping[str, str], at: datetime) -> None:
        """Add those that are not there, and leave the others as they are."""

    async def forget(self, alias: str) -> int:
        """Remove all of this alias, and give how many they were."""
