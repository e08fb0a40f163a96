"""The key tools over standard input and output, for one user on their own machine."""

from mcp.server.stdio import stdio_server

from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.key_tools import KeyTools
from mcp_keys_server.server.tool_server import Context, build_tool_server


async def serve_stdio(ring: KeyRing, presented: str) -> None:
    """Serve until standard input ends, as whoever the key belongs to; it is verified again for every call."""

    async def caller(_: Context) -> Principal:
        return await admit(ring.verifier, presented)

    server = build_tool_server(KeyTools(ring.manager), caller)
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


async def admit(verifier: KeyVerifier, presented: str) -> Principal:
    """The key's principal, if the key opens the endpoint that this stands for.

    Raises:
        InvalidApiKeyError: The key is not good.
        NotPermittedError: It is good for other endpoints.
        StoreUnavailableError: Nobody can say at the moment.
    """
    principal = await verifier.verify(presented)
    if not principal.grant.opens(KEYS_ALIAS):
        raise NotPermittedError(f"this API key does not open the endpoint '{KEYS_ALIAS}', which is what this is")
    return principal
