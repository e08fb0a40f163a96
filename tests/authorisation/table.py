"""Who may do what: one line for each route and each tool. What is not in here fails the suite.

What each cell of the matrix has to answer follows from these lines and from what is known of whoever asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_keys_server.core.grant import KEYS_READ, KEYS_WRITE
from tests.authorisation.inventory import ANY

GET, POST, FORM = frozenset({"GET"}), frozenset({"POST"}), frozenset({"GET", "POST"})
RELAYED = frozenset({"POST", "GET", "DELETE"})
SCOPE_OF_TICKETS = "tickets:read"


@dataclass(frozen=True)
class Open:
    """The same to everybody, whatever they bring. By method, the status; another method is 405."""

    statuses: Mapping[str, int]

    @property
    def methods(self) -> frozenset[str]:
        return frozenset(self.statuses)


@dataclass(frozen=True)
class OwnEndpoint:
    """For the keys of the user in its path that open its alias."""

    methods: frozenset[str]
    alias: str
    required_scope: str | None = None


@dataclass(frozen=True)
class Question:
    """What proxies and other servers ask of a key that is in the request itself."""

    methods: frozenset[str] = ANY


@dataclass(frozen=True)
class Page:
    """For people with a session. Its rule is by what the key that began the session may."""

    methods: frozenset[str]
    to_see: str | None = None
    """The scope that it takes to look."""
    to_do: str | None = None
    """The one that it takes to send its form."""
    of_key: bool = False
    """Whether it is about the key in its path, which nobody but its owner gets to know of."""


@dataclass(frozen=True)
class ByCode:
    """For whoever has the code in its path."""

    methods: frozenset[str]


Rule = Open | OwnEndpoint | Question | Page | ByCode

ROUTES: Mapping[str, Rule] = {
    "/u/{user_id}/keys/mcp": OwnEndpoint(POST, "keys"),
    "/u/{user_id}/elsewhere/mcp": OwnEndpoint(RELAYED, "elsewhere"),
    "/u/{user_id}/tickets/mcp": OwnEndpoint(RELAYED, "tickets", SCOPE_OF_TICKETS),
    "/u/{user_id}/program/mcp": OwnEndpoint(RELAYED, "program"),
    "/verify": Question(),
    "/verify/*": Question(),
    "/introspect": Question(),
    "/": Open({"GET": 303}),
    "/keys": Open({"GET": 303}),
    "/healthz": Open({"GET": 200}),
    "/readyz": Open({"GET": 200}),
    "/register": Open({"POST": 403}),
    "/.well-known/{rest:path}": Open(dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), 404)),
    "/keys/static/*": Page(ANY),
    "/keys/sign-in": Page(FORM),
    "/keys/sign-out": Page(POST),
    "/keys/": Page(FORM, None, KEYS_WRITE),
    "/keys/{key_id}/claim": Page(FORM, KEYS_READ, KEYS_WRITE, of_key=True),
    "/keys/{key_id}/rename": Page(FORM, KEYS_READ, KEYS_WRITE, of_key=True),
    "/keys/{key_id}/revoke": Page(FORM, KEYS_READ, KEYS_WRITE, of_key=True),
    "/keys/invitation/{code}": ByCode(FORM),
    "/keys/invitation/{code}/revoke": ByCode(POST),
}


@dataclass(frozen=True)
class ToolRule:
    """What a tool takes of whoever calls it."""

    scope: str | None = None
    """Without it, the call is refused."""
    listed_without: bool = False
    """Whether it is listed all the same, because there is something that it does without."""
    of_key: bool = False
    """Whether it is about one key, which is the caller's user's or else is not there."""
    without_scope_on: frozenset[str] = frozenset()
    """The keys on which it needs no scope, seen from the caller's."""
    on: frozenset[str] = frozenset({"itself", "child", "sibling"})
    """The keys of the same user on which it does anything."""
    refuses_before_looking: bool = False
    """Whether a caller without the scope is told so of keys that are not there, too."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


_LINEAGE = frozenset({"itself", "child"})
TOOLS: Mapping[str, ToolRule] = {
    "whoami": ToolRule(),
    "client_config": ToolRule(arguments={"client": "mcp-json"}),
    "list_keys": ToolRule(KEYS_READ),
    "list_events": ToolRule(KEYS_READ),
    "review_keys": ToolRule(KEYS_READ),
    "get_key": ToolRule(KEYS_READ, listed_without=True, of_key=True, without_scope_on=_LINEAGE),
    "create_key": ToolRule(KEYS_WRITE, arguments={"name": "Made"}),
    "update_key": ToolRule(KEYS_WRITE, of_key=True, arguments={"name": "Renamed"}),
    "disable_key": ToolRule(KEYS_WRITE, of_key=True),
    "enable_key": ToolRule(KEYS_WRITE, of_key=True, on=_LINEAGE),
    "rotate_key": ToolRule(KEYS_WRITE, of_key=True, on=_LINEAGE),
    "revoke_key": ToolRule(
        KEYS_WRITE,
        listed_without=True,
        of_key=True,
        without_scope_on=frozenset({"itself"}),
        refuses_before_looking=True,
    ),
}
