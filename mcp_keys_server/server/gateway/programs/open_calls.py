"""The calls that are open at one user's upstream, and what it asks in the middle of them."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
from mcp.client.client import Client
from mcp.client.session import ClientRequestContext
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequest,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    InputRequest,
    InputResponse,
    Request,
)
from pydantic import RootModel, ValidationError

from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.programs.lasting_calls import LastingCall, Message
from mcp_keys_server.server.gateway.programs.questions import Context, ask, check_can_be_asked

logger = logging.getLogger(__name__)

HOLDS_A_KEY: Final = (
    "This holds an API key of this server, which belongs in no message, so it was not passed on; if the key has been "
    "shown to anybody, revoke it"
)


class _Raw(RootModel[Message]):
    """As it stands, so that nothing is lost for which the SDK's types have no name."""


@dataclass(slots=True, eq=False)
class OpenCall:
    """One of them."""

    began_in: Context
    lasting: LastingCall | None = None
    """What it is if it may go on in another request; None: it ends with its own."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def context(self) -> Context:
        return self.began_in if self.lasting is None else self.lasting.context


class OpenCalls:
    """Of one user at one alias."""

    def __init__(self, alias: str, *, seconds: float, holds_key: Callable[[str], bool]) -> None:
        """A call may take so long without a sign of life."""
        self._alias = alias
        self._seconds = seconds
        self._holds_key = holds_key
        self._open: list[OpenCall] = []

    async def put(self, client: Client, call: OpenCall, params: Message) -> Message:
        """Put a request to the upstream and pass on what it tells of its progress.

        Raises:
            UpstreamError: There is no answer, or none that can be passed on.
            MCPError: The upstream answered with this error.
        """
        self.check_for_keys(params)

        async def pass_on(progress: float, total: float | None, message: str | None) -> None:
            call.scope.deadline = anyio.current_time() + self._seconds
            await call.context.session.report_progress(progress, total, message)

        self._open.append(call)
        try:
            with call.scope:
                call.scope.deadline = anyio.current_time() + self._seconds
                return await send(client, call.context.method, params, pass_on)
        except MCPError as error:
            if error.error.code == CONNECTION_CLOSED:
                raise UpstreamError(f"The server behind '{self._alias}' ended during the call") from None
            raise
        except (ValidationError, RuntimeError):
            raise UpstreamError(f"The server behind '{self._alias}' answered with what is no answer") from None
        finally:
            self._open.remove(call)
        raise UpstreamError(f"The server behind '{self._alias}' gave no sign of life for {self._seconds:g} seconds")

    def check_for_keys(self, message: object) -> None:
        """
        Raises:
            MCPError: There is a key of this server in what is about to be sent to an upstream.
        """
        if self._holds_key(json.dumps(message, ensure_ascii=False)):
            logger.warning("refused: an API key was on its way to upstream %s", self._alias)
            raise MCPError(INVALID_PARAMS, HOLDS_A_KEY)

    async def on_sampling(
        self, context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | CreateMessageResultWithTools | ErrorData:
        del context  # it does not say for which call it is
        answer = await self._relay(CreateMessageRequest(params=params))
        assert isinstance(answer, CreateMessageResult | CreateMessageResultWithTools | ErrorData)  # noqa: S101 - as asked
        return answer

    async def on_elicitation(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult | ErrorData:
        del context
        answer = await self._relay(ElicitRequest(params=params))
        assert isinstance(answer, ElicitResult | ErrorData)  # noqa: S101 - as asked
        return answer

    async def _relay(self, question: InputRequest) -> InputResponse | ErrorData:
        """Ask what an upstream of the handshake era asks in the middle of a call."""
        if len(self._open) != 1:
            # It does not say for which of them it asks, and whoever made another is not to be asked.
            return ErrorData(code=INVALID_REQUEST, message="Nobody can tell which of the open calls this is for")
        (call,) = self._open
        call.scope.deadline = math.inf
        try:
            if call.lasting is not None:
                check_can_be_asked(call.context, question)
                answer = await call.lasting.ask(question)
            else:
                answer = await ask(call.context, question)
            self.check_for_keys(answer.model_dump(by_alias=True, mode="json"))
        except MCPError as error:
            return error.error
        finally:
            call.scope.deadline = anyio.current_time() + self._seconds
        return answer


async def send(client: Client, method: str, params: Message, on_progress: ProgressFnT | None = None) -> Message:
    """One request as it stands, and its result.

    Raises:
        MCPError: The upstream's error, or that the connection is closed.
        ValidationError: The result is not what the protocol says.
    """
    request = Request[Message, str](method=method, params=params)
    return (await client.session.send_request(request, _Raw, progress_callback=on_progress)).root
