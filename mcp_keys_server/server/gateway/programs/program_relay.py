"""One user's upstream in the words of the SDK's server: what comes in is put to it, and its answer is passed on.

Either side may speak either era of the protocol. The SDK's client and server translate between them; what has no
counterpart, a question in the middle of a call, is translated here, or the call is answered with what is missing.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.client.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, RequestParams
from pydantic import ValidationError

from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.auth.open_responses import OpenResponses
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.announcements import Announcements
from mcp_keys_server.server.gateway.programs.lasting_calls import LastingCall, Message, ParkedCalls
from mcp_keys_server.server.gateway.programs.likeness import SET_LEVEL, SUBSCRIBE, UNSUBSCRIBE, is_later, server_like
from mcp_keys_server.server.gateway.programs.open_calls import OpenCall, OpenCalls
from mcp_keys_server.server.gateway.programs.questions import (
    Context,
    ask,
    check_can_be_asked,
    parse_question,
    questions_of,
)
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.gateway.tool_listing import SECONDS_TO_LIST, listed_tools
from mcp_keys_server.server.gateway.tool_rules import Definition, ToolRules, called_tool
from mcp_keys_server.server.gateway.usage import Call, UsageBook

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

logger = logging.getLogger(__name__)

KEY_ENDED: Final = "The API key is not valid any more, so the call was given up"
CRASHED: Final = "Something went wrong in the gateway; its log has the details"
NO_DATABASE: Final = "The key database does not answer at the moment. Try again in a few seconds"
NO_SUCH_TOOL: Final = "There is no tool of this name here, or this key may not use it"
MOST_ROUNDS: Final = 20
"""Of questions in one call."""
_SECONDS_BETWEEN_ROUNDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the relays of all users of an alias share."""

    alias: str
    rules: ToolRules
    seal: Seal
    usage: UsageBook
    open_responses: OpenResponses


class Relay:
    """Of one user of an alias. ``in_use`` gives the running upstream, started if need be, and keeps it running."""

    def __init__(
        self,
        around: Surroundings,
        user_id: str,
        calls: OpenCalls,
        announcements: Announcements,
        in_use: Callable[[], AbstractAsyncContextManager[Client]],
    ) -> None:
        self._around = around
        self._user_id = user_id
        self._calls = calls
        self._announcements = announcements
        self._in_use = in_use
        self._parked = ParkedCalls()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Around all that is relayed."""
        async with anyio.create_task_group() as self._tasks:
            yield

    def server(self, client: Client) -> Server[Any]:
        """A server that says of itself what the upstream says of itself, and offers of it what is relayed here."""
        return server_like(client, self._around.alias, self._forward)

    async def _forward(self, context: Context, _: RequestParams) -> Message:
        assert context.request is not None  # noqa: S101 - over HTTP there is always one
        principal = principal_of(context.request.scope)
        around = self._around
        with around.usage.calling(around.alias, self._user_id) as call, around.open_responses.working():
            try:
                return await self._answer(context, principal, call)
            except UpstreamError as error:
                logger.warning("upstream %s user_id=%s: %s", around.alias, self._user_id, error)
                raise MCPError(INTERNAL_ERROR, str(error)) from None
            except StoreUnavailableError:
                raise MCPError(INTERNAL_ERROR, NO_DATABASE) from None
            except MCPError:
                raise
            except Exception:
                # Outermost here, because the SDK sends the text of what gets past it to clients of the handshake era.
                logger.exception("crashed: upstream %s user_id=%s", around.alias, self._user_id)
                raise MCPError(INTERNAL_ERROR, CRASHED) from None
        raise MCPError(INVALID_REQUEST, KEY_ENDED)

    async def _answer(self, context: Context, principal: Principal, call: Call) -> Message:
        params = {name: value for name, value in (context.params or {}).items() if name != "_meta"}
        self._open_state(principal, params)
        result = await self._relayed(context, principal, params)
        if context.method == "tools/list":
            result["tools"] = list(await self._around.rules.shown(principal, result["tools"]))
        if "cacheScope" in result:  # what is shown depends on the key, so no other client may keep it
            result["cacheScope"] = "private"
        if is_later(context.protocol_version):
            result.setdefault("resultType", "complete")  # which an upstream of the handshake era does not say
        if result.get("isError"):
            call.failed("the tool answered with an error")
        return result

    async def _relayed(self, context: Context, principal: Principal, params: Message) -> Message:
        lasting = self._parked.take_up(params)
        async with self._in_use() as client:
            if lasting is None and context.method == "tools/call":
                await self._check_tool(client, principal, called_tool(params))
                if is_later(context.protocol_version) and not is_later(client.protocol_version):
                    lasting = self._begin(context, params)
            if lasting is not None:
                return await self._follow(lasting, context, principal)
            if context.method in (SUBSCRIBE, UNSUBSCRIBE, SET_LEVEL):
                return await self._listen(client, context, params)
            result = await self._calls.put(client, OpenCall(context), params)
            if result.get("resultType") != "input_required":
                return result
            if is_later(context.protocol_version):
                return self._asking(context, principal, result)
            return await self._ask_and_go_on(client, context, params, result)

    async def _listen(self, client: Client, context: Context, params: Message) -> Message:
        """What a session wants to be told unasked, which for the upstream all sessions of its user want together."""
        announcements, result = self._announcements, Message()
        if context.method != UNSUBSCRIBE or not announcements.is_watched(params["uri"], besides=context):
            agreed = announcements.agreed(context.method, params)
            result = await self._calls.put(client, OpenCall(context), agreed)
        announcements.note(context, params)
        return result

    def _begin(self, context: Context, params: Message) -> LastingCall:
        """A call in which the upstream may ask what its client can only be asked by a result."""
        lasting = LastingCall(context)

        async def work() -> Message:
            with self._around.open_responses.working():
                async with self._in_use() as client:
                    return await self._calls.put(client, OpenCall(context, lasting), params)
            raise MCPError(INVALID_REQUEST, KEY_ENDED)

        assert self._tasks is not None  # noqa: S101 - it runs as long as there are requests
        self._tasks.start_soon(lasting.run, work)
        return lasting

    async def _follow(self, lasting: LastingCall, context: Context, principal: Principal) -> Message:
        lasting.context = context
        news = await lasting.news()
        return news if isinstance(news, dict) else self._sealed(principal, self._parked.park(lasting, news))

    async def _check_tool(self, client: Client, principal: Principal, name: str | None) -> None:
        rules = self._around.rules
        if name is not None and rules.needs_listing(name):
            for page in await self._listed(client):
                await rules.shown(principal, page)
        if name is None or not rules.lets_call(principal, name):
            logger.info(
                "refused: a tool that is not for this key alias=%s key_id=%s user_id=%s",
                self._around.alias,
                principal.key_id,
                self._user_id,
            )
            raise MCPError(INVALID_PARAMS, NO_SUCH_TOOL)

    async def _listed(self, client: Client) -> Sequence[Sequence[Definition]]:
        """
        Raises:
            UpstreamError: It does not say which tools it has.
        """
        try:
            with anyio.fail_after(SECONDS_TO_LIST):
                return await listed_tools(client)
        except TimeoutError:
            what = "did not say in time which tools it has"
        except (ValidationError, RuntimeError):
            what = "answered with what is no answer"
        raise UpstreamError(f"The server behind '{self._around.alias}' {what}")

    def _open_state(self, principal: Principal, params: Message) -> None:
        sealed = params.get("requestState")
        if sealed is not None:
            # Only of a call of a tool the SDK has seen to it that it is text.
            state = self._around.seal.open(str(sealed), *self._bound_to(principal))
            if state is None:
                raise MCPError(INVALID_PARAMS, "requestState: it was not given to this key at this endpoint")
            params["requestState"] = state

    def _bound_to(self, principal: Principal) -> tuple[str, str, str]:
        return principal.user_id, principal.key_id, self._around.alias

    def _asking(self, context: Context, principal: Principal, result: Message) -> Message:
        """The upstream's questions as the answer to a client that asks them itself and calls again."""
        for raw in questions_of(result).values():
            check_can_be_asked(context, parse_question(raw))
        return self._sealed(principal, result)

    def _sealed(self, principal: Principal, result: Message) -> Message:
        state = result.get("requestState")
        if isinstance(state, str):
            result["requestState"] = self._around.seal.seal(state, *self._bound_to(principal))
        return result

    async def _ask_and_go_on(self, client: Client, context: Context, params: Message, result: Message) -> Message:
        """Ask a client of the handshake era what the upstream asks by its result, and call again with the answers."""
        for _ in range(MOST_ROUNDS):
            answers = {}
            for name, raw in questions_of(result).items():
                answer = await ask(context, parse_question(raw))
                answers[name] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
            if not answers:
                await anyio.sleep(_SECONDS_BETWEEN_ROUNDS)
            more = {"inputResponses": answers, "requestState": result.get("requestState")}
            again = params | {name: value for name, value in more.items() if value}
            result = await self._calls.put(client, OpenCall(context), again)
            if result.get("resultType") != "input_required":
                return result
        raise UpstreamError(f"The server behind '{self._around.alias}' asked more than {MOST_ROUNDS} times in one call")
