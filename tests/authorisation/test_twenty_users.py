"""Twenty users with five aliases each: everybody gets to what is theirs, and nobody to anything else."""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import cast

import pytest
from starlette.applications import Starlette

from mcp_keys_server.server.endpoints import Endpoints
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams
from tests.authorisation.conftest import Site, request
from tests.server.calls import MODERN
from tests.server.conftest import client_of, started
from tests.server.gateway.remotes.remote_upstreams import an_upstream, pong
from tests.world import World

pytestmark = pytest.mark.anyio

USERS = [f"user{number}" for number in range(20)]
ELSEWHERE = ["a", "b", "c", "d"]
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": MODERN,
    "mcp-method": "tools/list",
}


@pytest.fixture
async def site(sqlite_world: World, tmp_path: Path) -> AsyncIterator[Site]:
    async with an_upstream(pong) as upstream:
        there: dict[str, object] = {"url": f"{upstream.url}/{{alias}}/{{user_id}}", "allow_private": True}
        settings = Settings(
            upstreams=cast("Mapping[str, AnyUpstream]", parse_upstreams(dict.fromkeys(ELSEWHERE, there))),
            upstream_data_dir=tmp_path / "upstreams",
            calls_per_minute=1_000_000,
        )
        async with started(sqlite_world, settings) as app, client_of(app) as http:
            assert isinstance(app, Starlette)
            yield Site(sqlite_world, app, http, upstream)


async def statuses(site: Site, users: Sequence[str]) -> dict[tuple[str, str, str], int]:
    """By who asks, whose endpoint it is, and its alias."""
    body, found = request("tools/list", modern=True), {}
    keys = {}
    for user in users:
        await site.world.ring.administration.add_user(user)
        _, key = await site.world.key(user)
        keys[user] = {**HEADERS, "x-api-key": key.reveal()}
    for asking, owner, alias in product(users, users, ["keys", *ELSEWHERE]):
        answer = await site.http.post(f"/u/{owner}/{alias}/mcp", headers=keys[asking], json=body)
        found[asking, owner, alias] = answer.status_code
    return found


async def test_everybody_gets_to_what_is_theirs_and_to_nothing_else(site: Site) -> None:
    found = await statuses(site, USERS)
    assert len(found) == 2_000
    assert {cell: status for cell, status in found.items() if status != (200 if cell[0] == cell[1] else 403)} == {}
    assert sorted(heard.target for heard in site.upstream.requests) == sorted(
        f"/mcp/{alias}/{user}" for alias, user in product(ELSEWHERE, USERS)
    )


async def test_an_entrance_that_does_not_look_whose_it_is_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoints, "_entered_alias", lambda _, scope, __: scope["path"].split("/")[3])
    assert set((await statuses(site, USERS[:3])).values()) == {200}
