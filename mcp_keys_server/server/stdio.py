"""The key tools over standard input and output, for one user on their own machine."""

from mcp.server.stdio import stdio_server
from platformdirs import user_config_path

from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.client_config import LocalProgram, local_program
from mcp_keys_server.server.delivery import Delivery, InlineDelivery
from mcp_keys_server.server.file_delivery import FileDelivery
from mcp_keys_server.server.key_tools import KeyTools
from mcp_keys_server.server.link_delivery import LinkDelivery
from mcp_keys_server.server.tool_server import Context, build_tool_server
from mcp_keys_server.settings import Settings, SettingsError


def key_tools(ring: KeyRing, settings: Settings) -> KeyTools:
    """The tools as they are on the user's own machine.

    Raises:
        SettingsError: Keys are to be claimed on pages of which nobody knows where they are.
    """

    def program(_: str, __: str) -> LocalProgram:
        return local_program(settings.database)

    delivery: Delivery
    match settings.secret_delivery:
        case "link":
            if settings.public_url is None:
                raise SettingsError("secret_delivery: link needs public_url, where 'serve' has the pages")
            delivery = LinkDelivery(ring.manager, settings.public_url)
        case "inline":
            delivery = InlineDelivery(ring.manager)
        case _:
            delivery = FileDelivery(ring.manager, user_config_path("mcp-keys-server", appauthor=False) / "keys")
    return KeyTools(ring.manager, delivery, program)


async def serve_stdio(ring: KeyRing, presented: str, tools: KeyTools) -> None:
    """Serve until standard input ends, as whoever the key belongs to; it is verified again for every call."""

    async def caller(_: Context) -> Principal:
        return await admit(ring.verifier, presented)

    server = build_tool_server(tools, caller)
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
