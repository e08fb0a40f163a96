"""How a page is looked at: on a desk or on a phone, in light or dark colours."""

from dataclasses import dataclass
from typing import Literal

import pytest
from playwright.async_api import Browser, BrowserContext


@dataclass(frozen=True)
class Look:
    device: Literal["desktop", "phone"]
    colours: Literal["light", "dark"]

    def __str__(self) -> str:
        return f"{self.device}-{self.colours}"

    async def context(self, browser: Browser, *, javascript: bool) -> BrowserContext:
        """A profile of its own, without cookies, that puts up with the certificate of the TLS front."""
        phone = self.device == "phone"
        return await browser.new_context(
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 800},
            device_scale_factor=2 if phone else 1,
            has_touch=phone,
            is_mobile=phone,  # so that a page without a viewport of its own is as small as on a real one
            color_scheme=self.colours,
            java_script_enabled=javascript,
            ignore_https_errors=True,
        )


DESKTOP_LIGHT = Look("desktop", "light")
DESKTOP_DARK = Look("desktop", "dark")
PHONE_LIGHT = Look("phone", "light")
PHONE_DARK = Look("phone", "dark")

IN_EACH_LOOK = pytest.mark.parametrize("look", [DESKTOP_LIGHT, DESKTOP_DARK, PHONE_LIGHT, PHONE_DARK], ids=str)
