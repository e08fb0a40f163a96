"""What there is to be entered: every route and every tool, found by walking what the application is made of."""

from collections.abc import Iterator, Mapping

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from mcp_keys_server.server.endpoints import Endpoints

ANY = frozenset({"*"})
"""All methods there are."""

Doors = Mapping[str, frozenset[str]]
"""The methods that each path is answered with."""


def doors_of(app: ASGIApp) -> Doors:
    return dict(_doors(app, ""))


def _doors(app: ASGIApp, at: str) -> Iterator[tuple[str, frozenset[str]]]:
    app = _behind_guards(app)
    if isinstance(app, Endpoints):
        for alias, endpoint in app._endpoints.items():
            yield f"{at}/{{user_id}}/{alias}/mcp", endpoint.methods
        return
    if not isinstance(app, Starlette):
        yield f"{at}/*", ANY  # whatever it is, it is something that has to be known
        return
    for route in app.routes:
        if isinstance(route, Mount):
            yield from _doors(route.app, at + route.path)
        elif isinstance(route, Route):
            yield at + route.path, _methods(route)
        else:
            yield f"{at} {route!r}", ANY


def _behind_guards(app: ASGIApp) -> ASGIApp:
    while not isinstance(app, Starlette) and hasattr(app, "_app"):
        app = app._app
    return app


def _methods(route: Route) -> frozenset[str]:
    return ANY if route.methods is None else frozenset(route.methods) - {"HEAD"}  # which comes with GET
