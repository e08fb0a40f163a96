"""A new key reaches the person and nobody else: all that passes between client and server is recorded and searched."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult

from tests.clients.connections import AUTO, LEGACY, MODERN, call, over_http
from tests.conftest import KEY
from tests.databases import a_database
from tests.person import Person
from tests.replicas import serving
from tests.running_server import ADA, RunningServer, running_server

pytestmark = pytest.mark.anyio
SECONDS = 30


@pytest.fixture(scope="module")
def linking_server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It delivers as it does unless told otherwise."""
    folder = tmp_path_factory.mktemp("data")
    with (
        a_database(kind, folder / "data") as database,
        serving(kind, database, folder, *ADA, MCP_KEYS_LOG_LEVEL="debug") as running,
    ):
        yield running
    for log in running.logs:
        assert not KEY.search(log)


@dataclass
class Wire:
    """Everything that was said over HTTP, heads and bodies, in both directions."""

    key_in_use: str
    said: list[str] = field(default_factory=list)

    async def heard(self, response: httpx2.Response) -> None:
        request = response.request
        heads = [*request.headers.items(), *response.headers.items()]
        bodies = [request.content.decode(), (await response.aread()).decode()]
        self.said += [str(request.url), *(f"{name}: {value}" for name, value in heads), *bodies]

    def keys(self) -> set[str]:
        """All that look like one, but for the one with which the client proves itself."""
        return set(KEY.findall("\n".join(self.said))) - {self.key_in_use}


class Owner:
    """Who sits at the client, is asked to open a page, and does."""

    def __init__(self, server: RunningServer, key: str, action: str = "accept") -> None:
        self._server = server
        self._key = key
        self._action = action
        self.claimed: list[str] = []

    async def open_page(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        del context
        assert isinstance(params, ElicitRequestURLParams)
        assert "Laptop" in params.message
        if self._action == "accept":
            await self.claim(params.url)
        return ElicitResult.model_validate({"action": self._action})

    async def claim(self, url: str) -> None:
        async with Person(self._server.base_url) as person:
            await person.sign_in(self._key)
            self.claimed.append(await person.claim(url))


@asynccontextmanager
async def recorded(server: RunningServer, era: str, owner: Owner | None, wire: Wire) -> AsyncIterator[Client]:
    """A client on the wire; it opens links if somebody is there who does."""
    headers = {"Authorization": f"Bearer {server.first_key}"}
    async with (
        httpx2.AsyncClient(headers=headers, event_hooks={"response": [wire.heard]}) as http,
        Client(
            streamable_http_client(server.endpoint(), http_client=http),
            mode=era,
            elicitation_callback=owner.open_page if owner else None,
        ) as client,
    ):
        yield client


async def assert_it_opens_the_endpoint(server: RunningServer, key: str, key_id: str, era: str) -> None:
    async with over_http(server.endpoint(), key, era) as laptop:
        assert (await call(laptop, "whoami"))["key"]["key_id"] == key_id


@pytest.mark.parametrize("era", [AUTO, MODERN])
async def test_a_client_that_opens_links_waits_until_its_owner_has_the_key(
    linking_server: RunningServer, era: str
) -> None:
    wire = Wire(linking_server.first_key)
    owner = Owner(linking_server, linking_server.first_key)
    with anyio.fail_after(SECONDS):
        async with recorded(linking_server, era, owner, wire) as ada:
            made = await call(ada, "create_key", name="Laptop")
        (key,) = owner.claimed
        assert (made["status"], made["claimed_from"]) == ("active", "127.0.0.1")
        await assert_it_opens_the_endpoint(linking_server, key, made["key_id"], era)
    assert wire.said
    assert wire.keys() == set()


@pytest.mark.parametrize("era", [LEGACY, AUTO, MODERN])
@pytest.mark.parametrize("could", [False, True], ids=["opens no links", "opens links"])
async def test_every_other_client_is_given_the_link(linking_server: RunningServer, era: str, *, could: bool) -> None:
    if could and era != LEGACY:
        return  # that is the test before this one
    wire = Wire(linking_server.first_key)
    owner = Owner(linking_server, linking_server.first_key)
    with anyio.fail_after(SECONDS):
        async with recorded(linking_server, era, owner if could else None, wire) as ada:
            made = await call(ada, "create_key", name="Laptop")
            assert made["status"] == "unclaimed"
            assert made["claim_url"] in made["what_to_do"]
            await owner.claim(made["claim_url"])
            assert (await call(ada, "get_key", key_id=made["key_id"]))["status"] == "active"
            listed = await call(ada, "list_keys")
            assert any(key["claimed_from"] == "127.0.0.1" for key in listed["keys"])
        await assert_it_opens_the_endpoint(linking_server, owner.claimed[0], made["key_id"], era)
    assert wire.said
    assert wire.keys() == set()


async def test_an_owner_who_declines_is_left_with_no_key(linking_server: RunningServer) -> None:
    wire = Wire(linking_server.first_key)
    owner = Owner(linking_server, linking_server.first_key, "decline")
    with anyio.fail_after(SECONDS):
        async with recorded(linking_server, MODERN, owner, wire) as ada:
            made = await call(ada, "create_key", name="Laptop")
    assert made["status"] == "revoked"
    assert wire.keys() == set()


async def test_a_claim_outlives_a_restart(kind: str, tmp_path: Path) -> None:
    with a_database(kind, tmp_path / "data") as database, anyio.fail_after(SECONDS):
        with running_server(database, *ADA) as server:
            async with over_http(server.endpoint(), server.first_key, MODERN) as ada:
                made = await call(ada, "create_key", name="Laptop")
        with running_server(database) as again, anyio.fail_after(SECONDS):
            async with Person(again.base_url) as person:
                await person.sign_in(server.first_key)
                key = await person.claim(f"/keys/{made['key_id']}/claim")
            await assert_it_opens_the_endpoint(again, key, made["key_id"], MODERN)
