"""What an upstream asks during a call, of the person or of the model that made it."""

from collections.abc import Mapping
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequest,
    InputResponse,
)
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

Context = ServerRequestContext[Any, Request]

SECONDS_TO_ANSWER: Final = 600
"""A person thinks, or is out for coffee; then whoever asked is told that nobody answered."""
_QUESTION: Final[TypeAdapter[InputRequest]] = TypeAdapter(InputRequest)


def parse_question(raw: object) -> InputRequest:
    """
    Raises:
        MCPError: It is nothing that can be asked here.
    """
    try:
        return _QUESTION.validate_python(raw, by_name=False)
    except ValidationError:
        raise MCPError(INVALID_PARAMS, "The server behind this endpoint asked something that is no question") from None


def check_can_be_asked(context: Context, question: InputRequest) -> None:
    """
    Raises:
        MCPError: The client that made this call did not say that it can be asked this.
    """
    missing = _missing(context.session.client_capabilities or ClientCapabilities(), question)
    if missing is not None:
        what, capability = missing
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"To go on, the server behind this endpoint has to ask {what}, which this client cannot be asked",
            {"requiredCapabilities": capability},
        )


async def ask(context: Context, question: InputRequest) -> InputResponse:
    """Put it to a client of the handshake era, in the middle of its call.

    Raises:
        MCPError: It cannot be asked, or answered with an error, or not in time.
    """
    check_can_be_asked(context, question)
    related = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(question, answer_to(question), SECONDS_TO_ANSWER, related)


def answer_to(question: InputRequest) -> type[ElicitResult | CreateMessageResult | CreateMessageResultWithTools]:
    """What an answer to one that can be asked is."""
    if isinstance(question, ElicitRequest):
        return ElicitResult
    assert isinstance(question, CreateMessageRequest)  # noqa: S101 - of all others it is said that they cannot
    return CreateMessageResultWithTools if question.params.tools else CreateMessageResult


def _missing(declared: ClientCapabilities, question: InputRequest) -> tuple[str, Mapping[str, object]] | None:
    """What it asks for, in words, and the capability for it, if the client has not declared that."""
    elicitation = declared.elicitation
    match question:
        case ElicitRequest(params=ElicitRequestURLParams()):
            has_it = elicitation is not None and elicitation.url is not None
            return None if has_it else ("the user to open a page", {"elicitation": {"url": {}}})
        case ElicitRequest():
            # An empty object is the form alone (2025-11-25, client/elicitation, "Capabilities").
            has_it = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
            return None if has_it else ("the user something", {"elicitation": {"form": {}}})
        case CreateMessageRequest():
            return None if declared.sampling is not None else ("the model something", {"sampling": {}})
        case _:
            return "for the user's folders", {"roots": {}}


def questions_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those for which an upstream of the later era interrupts a call; an empty mapping: none, it only wants time."""
    asked = result.get("inputRequests")
    return asked if isinstance(asked, dict) else {}
