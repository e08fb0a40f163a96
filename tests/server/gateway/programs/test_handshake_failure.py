"""Why a program could not be talked to, in words."""

import pytest
from mcp.shared.exceptions import MCPError

from mcp_keys_server.server.gateway.programs.handshake_failure import code_of, explained, knows_the_later_era_alone


def group(error: Exception) -> Exception:
    """As the SDK's task groups hand it on."""
    return ExceptionGroup("several", [ExceptionGroup("within", [error]), ValueError("later")])


@pytest.mark.parametrize("wrapped", [group, lambda error: error])
def test_the_first_error_is_what_went_wrong(wrapped: type[Exception]) -> None:
    assert explained(wrapped(MCPError(-32600, "secret"))) == "it answered the handshake with error -32600"
    assert explained(wrapped(OSError("secret"))) == "it could not be talked to (OSError)"
    assert (code_of(wrapped(MCPError(-32600, "x"))), code_of(wrapped(OSError("x")))) == (-32600, None)


@pytest.mark.parametrize(("code", "alone"), [(-32022, True), (-32601, True), (-32600, False), (-32000, False)])
def test_only_a_refusal_of_the_handshake_is_one(code: int, *, alone: bool) -> None:
    assert knows_the_later_era_alone(MCPError(code, "x")) is alone
