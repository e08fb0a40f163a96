"""Why a program that was started could not be talked to."""

from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION

from mcp_keys_server.server.gateway.tool_listing import first_error


def code_of(error: BaseException) -> int | None:
    """Of the error with which it answered; None: it did not answer."""
    first = first_error(error)
    return first.error.code if isinstance(first, MCPError) else None


def knows_the_later_era_alone(error: BaseException) -> bool:
    return code_of(error) in (UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND)


def explained(error: BaseException) -> str:
    code = code_of(error)
    if code is None:
        return f"it could not be talked to ({type(first_error(error)).__name__})"
    return f"it answered the handshake with error {code}"
