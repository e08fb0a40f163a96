"""The table is complete: what the application is made of is what is in it, and nothing is in it that is not there."""

from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.server.endpoints import Endpoint, Endpoints
from mcp_keys_server.server.key_tools import KEY_TOOLS
from mcp_keys_server.server.stdio import key_tools
from mcp_keys_server.settings import Settings
from tests.authorisation.conftest import Site
from tests.authorisation.inventory import Doors, doors_of
from tests.authorisation.table import ROUTES, TOOLS
from tests.world import World

pytestmark = pytest.mark.anyio

IN_TABLE: Doors = {path: rule.methods for path, rule in ROUTES.items()}


async def answer(_: Request) -> Response:
    return Response("Here I am.")


async def anything(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("Here I am.")(scope, receive, send)


async def test_every_route_is_in_the_table(site: Site) -> None:
    assert doors_of(site.app) == IN_TABLE


ADDED = [
    Route("/new", answer),
    Route("/new", answer, methods=["POST"]),
    Mount("/new", anything),
    Mount("/new", routes=[Route("/{user_id}", answer)]),
    Host("admin.example.com", anything),
    WebSocketRoute("/new", anything),
    Route("/verify", answer),  # the same path again, with methods of its own
]


@pytest.mark.parametrize("added", ADDED, ids=repr)
@pytest.mark.parametrize("where", ["", "/keys"], ids=["the application", "the pages"])
async def test_a_route_that_is_not_in_the_table_is_found(site: Site, added: Route, where: str) -> None:
    router = site.app if not where else _mounted(site.app, where)
    router.router.routes.append(added)
    assert doors_of(site.app) != IN_TABLE


async def test_a_method_that_is_not_in_the_table_is_found(site: Site) -> None:
    route = next(route for route in _mounted(site.app, "/keys").routes if isinstance(route, Route))
    assert route.methods is not None
    route.methods.add("DELETE")
    assert doors_of(site.app) != IN_TABLE


async def test_an_alias_that_is_not_in_the_table_is_found(site: Site) -> None:
    guard = next(route.app for route in _mounted(site.app, "").routes if isinstance(route, Mount))
    assert isinstance(guard, KeyGuard)
    assert isinstance(guard._app, Endpoints)
    cast("dict[str, Endpoint]", guard._app._endpoints)["new"] = Endpoint(anything)
    assert doors_of(site.app) != IN_TABLE


async def test_every_tool_is_in_the_table(site: Site) -> None:
    on_own_machine = key_tools(site.world.ring, Settings()).table()
    assert on_own_machine.keys() == TOOLS.keys() == KEY_TOOLS


async def test_what_needs_a_scope_says_so_to_the_list_as_well(sqlite_world: World) -> None:
    for name, tool in key_tools(sqlite_world.ring, Settings()).table().items():
        rule = TOOLS[name]
        assert tool.needs == (frozenset() if rule.scope is None or rule.listed_without else {rule.scope})
        takes = set(tool.definition.input_schema["properties"])
        assert ("key_id" in takes) == rule.of_key
        assert takes.isdisjoint({"user", "user_id", "owner", "principal", "api_key"})


def _mounted(app: Starlette, path: str) -> Starlette:
    """The application that is mounted there."""
    inner = next(route.app for route in app.routes if isinstance(route, Mount) and route.path == path)
    inner = getattr(inner, "_app", inner)
    assert isinstance(inner, Starlette)
    return inner
