"""What traces are told of a message. The SDK names its spans after what was sent, which may be a pasted key."""

from dataclasses import replace
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server

from mcp_keys_server.core.api_key import redact

Context = ServerRequestContext[Any, Any]


def keep_keys_from_traces(server: Server[Any]) -> None:
    """Show what stands around the handlers of this server, which is the SDK's tracing, every message without keys."""
    server.middleware[:] = [_shown_no_keys(each) for each in server.middleware]


def _shown_no_keys(middleware: ServerMiddleware[Any]) -> ServerMiddleware[Any]:
    async def shown_no_keys(ctx: Context, call_next: CallNext) -> HandlerResult:
        async def go_on(_: Context) -> HandlerResult:
            return await call_next(ctx)  # as it was sent, because what is refused is to be refused for what it is

        return await middleware(_without_keys(ctx), go_on)

    return shown_no_keys


def _without_keys(context: Context) -> Context:
    params = context.params
    if params is not None:
        params = {**params, "name": _redacted(params.get("name"))}
    request_id, meta = _redacted(context.request_id), _trace_of_client(context.meta)
    return replace(context, method=redact(context.method), request_id=request_id, params=params, meta=meta)


def _trace_of_client(meta: Any) -> Any:  # noqa: ANN401 - whatever was sent
    """Of what came along, the texts, because the trace that the client is at is in texts: traceparent, tracestate and
    baggage. Nothing in a traceparent looks like a key, so that one is left as it is.
    """
    return meta and {redact(name): redact(value) for name, value in meta.items() if isinstance(value, str)}


def _redacted(value: Any) -> Any:  # noqa: ANN401 - whatever was sent
    return redact(value) if isinstance(value, str) else value
