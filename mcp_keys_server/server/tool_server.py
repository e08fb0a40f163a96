"""The MCP server that offers the key tools, for any transport."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

import mcp_keys_server
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.core.errors import (
    InvalidApiKeyError,
    InvalidFieldError,
    KeyNoLongerGoodError,
    KeyNotFoundError,
    McpKeysError,
    NotPermittedError,
    NotRotatableError,
    StoreUnavailableError,
    TooBusyError,
    TooManyChangesError,
    TooManyKeysError,
)
from mcp_keys_server.core.grant import KEYS_ALIAS, Grant
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.delivery import Call
from mcp_keys_server.server.file_delivery import KeyFileError
from mcp_keys_server.server.key_tools import KeyTools
from mcp_keys_server.server.tool_announcement import KeyTool
from mcp_keys_server.server.tool_arguments import Arguments
from mcp_keys_server.server.traced_words import keep_keys_from_traces

logger = logging.getLogger(__name__)

ASKS_BY_RESULT: Final = "2026-07-28"
"""The first version of the protocol in which a tool asks the person something by its result; versions are dates."""

Context = ServerRequestContext[Any, Request]
Caller = Callable[[Context], Awaitable[Principal]]
"""Says on whose behalf a call is made; each transport has its own."""

INSTRUCTIONS: Final = (
    "Manages the API keys of the user whose key is in use; which tools there are depends on what that key may. "
    "Never ask the user to paste an API key into the conversation; keys are named by their key_id."
)


class InvalidArgumentsError(McpKeysError):
    """A tool does not take what was sent. The message names each field with its rule."""


class NoSuchToolError(McpKeysError):
    """No tool has this name, or none that the key may call. The message says which there are."""


# What each error says to the caller, where it is not the error's own sentence.
_SENTENCES: Final[dict[type[McpKeysError], str | None]] = {
    InvalidArgumentsError: None,
    InvalidFieldError: None,
    NotPermittedError: None,
    KeyNoLongerGoodError: None,
    TooManyChangesError: None,
    TooManyKeysError: None,
    NotRotatableError: None,
    KeyFileError: None,
    KeyNotFoundError: "key_id: you have no key with this id; list_keys shows the ids of your keys",
    StoreUnavailableError: "The key database does not answer at the moment. Try again in a few seconds; "
    "if this was to change something, list_keys shows whether it did.",
    TooBusyError: "Many keys are being checked for the first time. Try again in a few seconds.",
    InvalidApiKeyError: "The API key with which this program was started is no longer valid (expired or revoked). "
    "Put a valid one into MCP_KEYS_API_KEY and start it again.",
}


def build_tool_server(tools: KeyTools, caller: Caller) -> Server[Any]:
    """The server. It keeps nothing between calls, so every transport and both protocol eras may share it."""
    table = tools.table()

    async def list_tools(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        grant = (await caller(context)).grant
        found = [tool.definition for tool in _callable_with(grant, table).values() if tool.needs <= grant.scopes]
        return ListToolsResult(tools=found)

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        who = ""
        what = params.name if params.name in table else "no tool"  # it may be anything, a pasted key as well
        try:
            principal = await caller(context)
            who = f"key_id={principal.key_id} user_id={principal.user_id} "
            tool = _named(params.name, _callable_with(principal.grant, table))
            result = await tool.run(_call(principal, context, params), _read(params.arguments, tool.arguments))
        except NoSuchToolError as error:
            logger.info("refused: no tool that it may call %s", who.rstrip())
            raise MCPError(INVALID_PARAMS, str(error)) from None
        except tuple(_SENTENCES) as error:
            logger.info("refused: %s %s%s", what, who, error)
            return _refusal(_SENTENCES[type(error)] or str(error))
        except Exception:
            # Outermost here, because the SDK sends the text of what gets past it to clients of the legacy protocol.
            logger.exception("crashed: %s", what)
            return _refusal("Something went wrong in the server; its log has the details.")
        if isinstance(result, InputRequiredResult):
            return result
        return CallToolResult(
            content=[TextContent(text=result.model_dump_json())],
            structured_content=result.model_dump(mode="json"),
        )

    server: Server[Any] = Server(
        "mcp-keys-server",
        title="MCP Keys",
        version=mcp_keys_server.__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        cache_hints={"tools/list": CacheHint(ttl_ms=300_000), "server/discover": CacheHint(ttl_ms=300_000)},
        get_tool_input_schema=lambda name: table[name].definition.input_schema if name in table else None,
    )
    keep_keys_from_traces(server)
    return server


def _callable_with(grant: Grant, table: Mapping[str, KeyTool]) -> Mapping[str, KeyTool]:
    return {name: tool for name, tool in table.items() if grant.may_call(KEYS_ALIAS, name)}


def _named(name: str, tools: Mapping[str, KeyTool]) -> KeyTool:
    """
    Raises:
        NoSuchToolError: There is none; that one is only kept from this key is not to be told.
    """
    if name not in tools:
        raise NoSuchToolError(f"There is no such tool; there are: {', '.join(tools) or 'none'}")
    return tools[name]


def _call(principal: Principal, context: Context, params: CallToolRequestParams) -> Call:
    declared = context.session.client_capabilities
    elicitation = declared.elicitation if declared else None
    return Call(
        principal,
        opens_links=context.protocol_version >= ASKS_BY_RESULT
        and elicitation is not None
        and elicitation.url is not None,
        answers={
            name: answer.action
            for name, answer in (params.input_responses or {}).items()
            if isinstance(answer, ElicitResult)
        },
        client=client_address(context.request.scope) if context.request is not None else None,
        state=params.request_state,
    )


def _refusal(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sentence)], is_error=True)


def _read(sent: dict[str, Any] | None, arguments: type[Arguments]) -> Arguments:
    """
    Raises:
        InvalidArgumentsError: It is not what the tool takes.
    """
    try:
        return arguments.model_validate(sent or {})
    except ValidationError as error:
        raise InvalidArgumentsError(_explained(error, arguments)) from None


def _explained(error: ValidationError, arguments: type[BaseModel]) -> str:
    """Each field that is wrong, with its rule, and nothing of what was sent in it."""
    rules: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        field = str(detail["loc"][0]) if detail["loc"] else ""  # a name that is no text at all has no place
        if field in arguments.model_fields:
            rules.setdefault(field, f"{detail['msg']}. {arguments.model_fields[field].description}")
        else:
            # Not named: it is whatever the caller wrote where a name belongs.
            rules["unknown argument"] = f"this tool takes {', '.join(arguments.model_fields) or 'none'}"
    return "; ".join(f"{field}: {rule}" for field, rule in rules.items())
