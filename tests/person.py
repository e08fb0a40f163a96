"""A person with a browser without scripts: signs in, and presses the button on the page that a link leads to."""

import html
import re
from types import TracebackType
from typing import Self

import httpx2

from tests.conftest import KEY

OWN_FORM = {"sec-fetch-site": "same-origin"}
EMPTY_FORM = {"content-type": "application/x-www-form-urlencoded"}


class Person:
    """One person at the pages of one server."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=base_url, headers=OWN_FORM, follow_redirects=True)

    async def sign_in(self, key: str) -> None:
        answer = await self._http.post("/keys/sign-in", data={"key": key})
        assert answer.url.path == "/keys/", answer.text

    async def claim(self, url: str) -> str:
        """The key that the page shows."""
        offer = await self._http.get(url)
        assert "Show me the key" in offer.text, offer.text
        assert not KEY.search(offer.text)
        shown = await self._http.post(url, content=b"", headers=EMPTY_FORM)
        found = re.search(r'<pre id="the-key" tabindex="0">(.*?)</pre>', shown.text)
        assert found, shown.text
        return html.unescape(found[1])

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)
