"""The tools of the conformance suite that ask something, and the prompt that does, each without the ``test_`` before
its name. The first four ask in the middle of a call, as in the handshake era, and the others by their result.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field, JsonValue

Asked = str | InputRequiredResult

OPTIONS: list[JsonValue] = ["option1", "option2", "option3"]
TITLED: list[JsonValue] = [{"const": f"value{number}", "title": f"Option {number}"} for number in (1, 2, 3)]


class UserAnswer(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class WithDefaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Annotated[str, Field(json_schema_extra={"enum": ["active", "inactive", "pending"]})] = "active"
    verified: bool = True


class WithEnums(BaseModel):
    untitled_single: str = Field(alias="untitledSingle", json_schema_extra={"enum": OPTIONS})
    titled_single: str = Field(alias="titledSingle", json_schema_extra={"oneOf": TITLED})
    legacy_enum: str = Field(alias="legacyEnum", json_schema_extra={"enum": OPTIONS, "enumNames": ["1", "2", "3"]})
    untitled_multi: list[str] = Field(
        alias="untitledMulti", json_schema_extra={"items": {"type": "string", "enum": OPTIONS}}
    )
    titled_multi: list[str] = Field(alias="titledMulti", json_schema_extra={"items": {"anyOf": TITLED}})


async def sampling(prompt: str, context: Context) -> str:
    result = await context.session.create_message(to_model(prompt).params.messages, max_tokens=100)
    assert isinstance(result.content, TextContent)
    return f"LLM response: {result.content.text}"


async def elicitation(message: str, context: Context) -> str:
    return await _elicited(context, message, UserAnswer)


async def elicitation_sep1034_defaults(context: Context) -> str:
    return await _elicited(context, "Please provide user information", WithDefaults)


async def elicitation_sep1330_enums(context: Context) -> str:
    return await _elicited(context, "Please select", WithEnums)


async def _elicited(context: Context, message: str, schema: type[BaseModel]) -> str:
    answer = await context.elicit(message, schema)
    given = answer.data.model_dump() if answer.action == "accept" else {}
    return f"Elicitation completed: action={answer.action}, content={json.dumps(given)}"


def form(message: str, **properties: str) -> ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def to_model(prompt: str) -> CreateMessageRequest:
    messages = [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))]
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=messages, max_tokens=100))


NAME = form("What is your name?", name="string")
CONFIRM = form("Please confirm", ok="boolean")


def asked(context: Context, questions: Mapping[str, InputRequest], state: str | None = None) -> Asked:
    """The questions, until each of them is answered in its own way; then the answers."""
    answers = context.input_responses or {}
    if questions.keys() <= answers.keys() and all(
        _fits(question, answers[name]) for name, question in questions.items()
    ):
        assert context.request_state == state
        given = {name: answers[name].model_dump(mode="json") for name in questions}
        return f"state-ok {json.dumps(given)}"
    return InputRequiredResult(input_requests=dict(questions), request_state=state)


def _fits(question: InputRequest, answer: object) -> bool:
    match question:
        case ElicitRequest():
            return isinstance(answer, ElicitResult)
        case CreateMessageRequest():
            return isinstance(answer, CreateMessageResult)
        case _:
            return isinstance(answer, ListRootsResult)


def input_required_result_elicitation(context: Context) -> Asked:
    return asked(context, {"user_name": NAME})


def streaming_elicitation(context: Context) -> Asked:
    return asked(context, {"user_name": NAME})


def input_required_result_sampling(context: Context) -> Asked:
    return asked(context, {"capital_question": to_model("What is the capital of France?")})


def input_required_result_list_roots(context: Context) -> Asked:
    return asked(context, {"client_roots": ListRootsRequest()})


def input_required_result_request_state(context: Context) -> Asked:
    return asked(context, {"confirm": CONFIRM}, "confirming")


def input_required_result_tampered_state(context: Context) -> Asked:
    return asked(context, {"confirm": CONFIRM}, "confirming")


def input_required_result_multiple_inputs(context: Context) -> Asked:
    greeting = to_model("Generate a greeting")
    return asked(
        context, {"user_name": NAME, "greeting": greeting, "client_roots": ListRootsRequest()}, "asked for three"
    )


def input_required_result_multi_round(context: Context) -> Asked:
    if context.request_state is None:
        return asked(context, {"step1": form("Step 1: What is your name?", name="string")}, "first")
    if context.request_state == "first":
        second = form("Step 2: What is your favorite color?", color="string")
        return InputRequiredResult(input_requests={"step2": second}, request_state="second")
    return "Done."


def input_required_result_capabilities(context: Context) -> Asked:
    declared = context.client_capabilities or ClientCapabilities()
    questions: dict[str, InputRequest] = {}
    if declared.elicitation is not None:
        questions["user_name"] = NAME
    if declared.sampling is not None:
        questions["greeting"] = to_model("Generate a greeting")
    return asked(context, questions)


def missing_capability(context: Context) -> str:
    if context.client_capabilities is None or context.client_capabilities.sampling is None:
        data = {"requiredCapabilities": {"sampling": dict[str, str]()}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool asks the model", data)
    return "It could be asked."


def input_required_result_prompt(context: Context) -> Asked:
    return asked(context, {"user_context": form("What context should the prompt use?", context="string")})


ASKING_TOOLS: list[Callable[..., Any]] = [
    sampling,
    elicitation,
    elicitation_sep1034_defaults,
    elicitation_sep1330_enums,
    input_required_result_elicitation,
    streaming_elicitation,
    input_required_result_sampling,
    input_required_result_list_roots,
    input_required_result_request_state,
    input_required_result_tampered_state,
    input_required_result_multiple_inputs,
    input_required_result_multi_round,
    input_required_result_capabilities,
    missing_capability,
]
