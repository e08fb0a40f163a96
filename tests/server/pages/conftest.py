"""Visitors of the pages, in the same process."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from html import unescape
from typing import Protocol

import httpx2
import pytest
from starlette.types import ASGIApp

from mcp_keys_server import ApiKey, RequestedGrant
from mcp_keys_server.core.invitations import Invitation
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.settings import Settings
from tests.conftest import KEY
from tests.server.conftest import BASE_URL
from tests.world import NOTHING_SPECIAL, World

OWN_FORM = {"sec-fetch-site": "same-origin"}
COOKIE = "mcp_keys_session"
HTTPS = "https://keys.example.com"

Fields = Mapping[str, str | Sequence[str]]


class Visitor:
    """A browser, as far as the server can tell: it keeps its cookies and sends its forms from our own pages."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.http.get(path, headers=headers)

    async def post(
        self, path: str, fields: Fields | None = None, headers: Mapping[str, str] = OWN_FORM
    ) -> httpx2.Response:
        form = {"content-type": "application/x-www-form-urlencoded"}
        return await self.http.post(path, data=dict(fields or {}), headers={**form, **headers})

    async def sign_in(self, key: ApiKey | str, **fields: str) -> httpx2.Response:
        text = key if isinstance(key, str) else key.reveal()
        return await self.post("/keys/sign-in", {"key": text, **fields})

    async def create(self, name: str = "Laptop", **fields: str | Sequence[str]) -> str:
        """Create a key on the page; its key id."""
        answer = await self.post("/keys/", {"name": name, "scopes": "keys:read", **fields})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].split("/")[2]

    async def is_signed_in(self) -> bool:
        return (await self.get("/keys/")).status_code == 200

    @property
    def session(self) -> str:
        return next(value for name, value in self.http.cookies.items() if name.endswith(COOKIE))

    def use_session(self, token: str) -> None:
        self.http.cookies.clear()
        self.http.headers["cookie"] = f"{COOKIE}={token}"


class Visit(Protocol):
    def __call__(self, *, address: str = "192.0.2.1") -> Visitor: ...


@pytest.fixture
async def visit(app: ASGIApp) -> AsyncIterator[Visit]:
    """Somebody new, from that address."""
    async with AsyncExitStack() as stack:

        def new(*, address: str = "192.0.2.1") -> Visitor:
            http = client(app, address=address)
            stack.push_async_callback(http.aclose)
            return Visitor(http)

        yield new


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    """Somebody who is not signed in."""
    return visit()


@pytest.fixture
async def ada(world: World, visit: Visit) -> Visitor:
    """Ada, signed in with a key that manages keys."""
    return await signed_in(world, visit)


async def signed_in(
    world: World, visit: Visit, user: str = "ada", requested: RequestedGrant = NOTHING_SPECIAL
) -> Visitor:
    visitor = visit()
    _, key = await world.key(user, requested)
    assert (await visitor.sign_in(key)).status_code == 303
    return visitor


def client(app: ASGIApp, *, base_url: str = BASE_URL, address: str = "192.0.2.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False, client=(address, 40_000))
    return httpx2.AsyncClient(transport=transport, base_url=base_url)


def app_with(world: World, settings: Settings) -> ASGIApp:
    """The application with these settings; its pages need no lifespan."""
    return build_app(world.ring, host_policy(settings, port=8000), settings, clock=world.clock)


async def invite(world: World, user: str = "ada", requested: RequestedGrant = NOTHING_SPECIAL) -> Invitation:
    return await world.ring.invitations.invite(user, name="First", requested=requested)


async def unclaimed(world: World, requested: RequestedGrant = NOTHING_SPECIAL, user: str = "ada") -> str:
    """The id of a key that a tool has asked for."""
    principal = await world.principal(user)
    record = await world.ring.manager.create_unclaimed_key(principal, name="New", requested=requested)
    return record.key_id


def shown_key(answer: httpx2.Response) -> str | None:
    """The key that a page shows, if it shows one."""
    found = KEY.search(answer.text)
    return found and found[0]


def text_of(answer: httpx2.Response) -> str:
    """What a person reads: without tags, in single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def in_the_database(world: World, *statements: str) -> None:
    world.sql(*statements)
