"""The page on which a new key is shown, this once."""

from starlette.responses import Response

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.client_config import Endpoint, all_snippets
from mcp_keys_server.server.pages.rendering import page


def handed_over(record: KeyRecord, key: ApiKey, public_url: str) -> Response:
    aliases = record.grant.aliases
    alias = KEYS_ALIAS if record.grant.opens(KEYS_ALIAS) or not aliases else min(aliases)
    url = public_url + endpoint_path(record.user_id, alias)
    return page(
        "key.html",
        key=record,
        plaintext=key.reveal(),
        url=url,
        snippets=all_snippets(Endpoint(url), alias=alias, key=key.reveal()),
    )
