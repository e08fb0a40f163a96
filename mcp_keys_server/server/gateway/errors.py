"""What can go wrong between the gateway and an upstream."""

from mcp_keys_server.core.errors import McpKeysError


class UpstreamError(McpKeysError):
    """The upstream did not do what it was asked for; the message tells the caller, without anything internal."""


def not_there(why: str) -> UpstreamError:
    return UpstreamError(f"The server behind this endpoint is not there: {why}")
