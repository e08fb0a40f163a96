"""What an upstream asks, and which clients can be asked that."""

from types import SimpleNamespace
from typing import cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ClientCapabilities

from mcp_keys_server.server.gateway.programs.questions import Context, check_can_be_asked, parse_question

FORM = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
}
PAGE = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "?", "url": "https://a.example", "elicitationId": "1"},
}
MODEL = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
FOLDERS = {"method": "roots/list"}
ALL: dict[str, object] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


def client(declared: dict[str, object] | None) -> Context:
    capabilities = None if declared is None else ClientCapabilities.model_validate(declared)
    return cast("Context", SimpleNamespace(session=SimpleNamespace(client_capabilities=capabilities)))


@pytest.mark.parametrize(
    ("question", "declared"),
    [
        (FORM, ALL),
        (FORM, {"elicitation": {}}),
        (FORM, {"elicitation": {"form": {}}}),
        (PAGE, ALL),
        (PAGE, {"elicitation": {"url": {}}}),
        (MODEL, {"sampling": {}}),
    ],
)
def test_a_client_that_says_so_can_be_asked(question: dict[str, object], declared: dict[str, object]) -> None:
    check_can_be_asked(client(declared), parse_question(question))


@pytest.mark.parametrize(
    ("question", "declared", "required"),
    [
        (FORM, None, {"elicitation": {"form": {}}}),
        (FORM, {"sampling": {}}, {"elicitation": {"form": {}}}),
        (FORM, {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        (PAGE, {}, {"elicitation": {"url": {}}}),
        (PAGE, {"elicitation": {}}, {"elicitation": {"url": {}}}),
        (MODEL, {"elicitation": {}}, {"sampling": {}}),
        (FOLDERS, ALL, {"roots": {}}),
    ],
)
def test_no_other_is_asked(
    question: dict[str, object], declared: dict[str, object] | None, required: dict[str, object]
) -> None:
    with pytest.raises(MCPError, match="this client cannot be asked") as refused:
        check_can_be_asked(client(declared), parse_question(question))
    assert refused.value.error.data == {"requiredCapabilities": required}


@pytest.mark.parametrize("raw", [None, {"method": "tools/call", "params": {}}, {"method": "elicitation/create"}])
def test_what_is_no_question_is_not_asked(raw: object) -> None:
    with pytest.raises(MCPError, match="no question"):
        parse_question(raw)
