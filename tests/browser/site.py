"""The real program behind TLS, as its users reach it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser.tls_front import tls_front
from tests.databases import Database, a_database
from tests.replicas import serving
from tests.running_server import RunningServer


@dataclass(frozen=True)
class Site:
    url: str
    """Without a slash at its end; the server's ``public_url``."""
    server: RunningServer
    database: Database


@contextmanager
def running_site(kind: str, folder: Path, *arguments: str, **more: str) -> Iterator[Site]:
    """``serve`` with these arguments and settings, on a new database, in this kind of deployment."""
    with a_database(kind, folder / "data") as database, tls_front(folder) as front:
        settings = more | {"MCP_KEYS_PUBLIC_URL": front.url}
        with serving(kind, database, folder, "--first-user", "ada", *arguments, **settings) as server:
            front.upstream = server.base_url
            yield Site(front.url, server, database)
