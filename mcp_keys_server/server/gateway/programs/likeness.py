"""What of an upstream is relayed: nothing else is offered, so nothing is offered that is not there."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args

from mcp.client.client import Client
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CompleteRequestParams,
    DiscoverResult,
    GetPromptRequestParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_keys_server.server.gateway.programs.questions import Context
from mcp_keys_server.server.traced_words import keep_keys_from_traces

FIRST_ERA_OF_RESULTS: Final = "2026-07-28"
"""The first version in which a server asks by its result; versions are dates."""
SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"
SET_LEVEL: Final = "logging/setLevel"
_RELAYED: Final[Mapping[str, Mapping[str, type[RequestParams]]]] = {
    "tools": {"tools/list": PaginatedRequestParams, "tools/call": CallToolRequestParams},
    "resources": {
        "resources/list": PaginatedRequestParams,
        "resources/templates/list": PaginatedRequestParams,
        "resources/read": ReadResourceRequestParams,
    },
    "prompts": {"prompts/list": PaginatedRequestParams, "prompts/get": GetPromptRequestParams},
    "completions": {"completion/complete": CompleteRequestParams},
}
"""By the capability without which an upstream has none of it."""


def is_later(version: str) -> bool:
    """Whether it is one in which a server asks by its result."""
    return version >= FIRST_ERA_OF_RESULTS


def _methods(client: Client) -> Mapping[str, type[RequestParams]]:
    """Those of the upstream to which this client is connected, with what they take."""
    offered = client.server_capabilities
    methods = {
        method: params
        for capability, of_it in _RELAYED.items()
        if getattr(offered, capability) is not None
        for method, params in of_it.items()
    }
    if not is_later(client.protocol_version):  # the later era knows neither
        if offered.resources is not None and offered.resources.subscribe:
            methods |= {SUBSCRIBE: SubscribeRequestParams, UNSUBSCRIBE: UnsubscribeRequestParams}
        if offered.logging is not None:
            methods[SET_LEVEL] = SetLevelRequestParams
    return methods


def server_like(
    client: Client, alias: str, forward: Callable[[Context, RequestParams], Awaitable[dict[str, Any]]]
) -> Server[Any]:
    """A server that says of itself what the upstream says of itself, and forwards what of it is offered."""
    told = client.server_info
    server: Server[Any] = Server(
        told.name if told else alias,
        version=told.version if told else "",
        title=told.title if told else None,
        instructions=client.instructions,
        # For upstreams of the handshake era, which do not say how long anything holds.
        cache_hints=dict.fromkeys(get_args(CacheableMethod), CacheHint(ttl_ms=0, scope="private")),
        get_tool_input_schema=lambda _: None,
    )
    keep_keys_from_traces(server)

    async def discover(context: Context, _: RequestParams) -> DiscoverResult:
        # To clients of the later era nothing of the log is passed on.
        capabilities = server.get_capabilities(protocol_version=context.protocol_version)
        return DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=capabilities.model_copy(update={"logging": None}),
            instructions=server.instructions,
        )

    for method, params in _methods(client).items():
        server.add_request_handler(method, params, forward)
    server.add_request_handler("server/discover", RequestParams, discover)
    return server
