"""What goes wrong on pages and is not seen on them."""

import re
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Request, WebError

POLICY = "Content Security Policy"
# The page was left or closed before the answer came, which is nobody's failure; or the console says it, as of a policy.
NO_FAILURES = ("net::ERR_ABORTED", "csp")
# Chromium asks for it unbidden, now and then, on pages that name no icon.
UNBIDDEN = "/favicon.ico"


class Troubles:
    """Console errors, violations of the Content-Security-Policy, uncaught exceptions and failed requests."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        """All of this context's pages, from now on."""
        context.on("console", self._on_console)
        context.on("weberror", self._on_exception)
        context.on("requestfailed", self._on_failed_request)

    def expect(self, pattern: str) -> None:
        """A trouble in which this is found is not reported; that there is none, is."""
        self._expected.append(pattern)

    def report(self) -> list[str]:
        """What was seen and is not expected, and what is expected and was not seen."""
        surprises = [seen for seen in self._seen if not any(re.search(pattern, seen) for pattern in self._expected)]
        absent = [pattern for pattern in self._expected if not any(re.search(pattern, seen) for seen in self._seen)]
        return surprises + [f"expected and not seen: {pattern}" for pattern in absent]

    def _on_console(self, message: ConsoleMessage) -> None:
        # A policy that only reports does not make an error of it.
        url = message.location["url"]
        if (message.type == "error" or POLICY in message.text) and urlsplit(url).path != UNBIDDEN:
            self._seen.append(f"console: {message.text} ({url})")

    def _on_exception(self, error: WebError) -> None:
        self._seen.append(f"exception: {error.error}")

    def _on_failed_request(self, request: Request) -> None:
        if request.failure not in NO_FAILURES:
            self._seen.append(f"request: {request.method} {request.url} failed: {request.failure}")
