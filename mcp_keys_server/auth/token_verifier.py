"""The verifier in the words of the MCP SDK, for ``MCPServer(token_verifier=...)``."""

import logging

from mcp.server.auth.provider import AccessToken

from mcp_keys_server.auth.entrance import Entrance
from mcp_keys_server.auth.line_budget import LineBudget, RefusalLog
from mcp_keys_server.auth.open_responses import CURRENT
from mcp_keys_server.core.errors import InvalidApiKeyError
from mcp_keys_server.core.field_rules import parse_user_id
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.verifier import KeyVerifier

__all__ = ["ApiKeyTokenVerifier", "access_token"]

logger = logging.getLogger(__name__)


class ApiKeyTokenVerifier:
    """Tells the SDK whose request it is.

    The SDK shows its verifier the key and never the path. So the endpoint is checked by ``asgi.ApiKeyMiddleware`` in
    front, and this passes on what was proven there; without the middleware nobody is let in.

    With a verifier and an alias it does without: it lets in every key that opens the alias, or only those of one user,
    on whatever path. Then a database that does not answer is an error 500, and what is open does not end with its key.

    Raises:
        InvalidFieldError: The alias or the user id breaks the rule of its field.
        ValueError: A verifier is given without an alias, or an alias without a verifier.
    """

    def __init__(
        self, verifier: KeyVerifier | None = None, *, alias: str | None = None, user_id: str | None = None
    ) -> None:
        if (verifier is None) != (alias is None):
            raise ValueError("give the verifier together with the alias that a key has to open, or neither")
        self._verifier = verifier
        self._log = RefusalLog(logger)
        self._lines = LineBudget()
        self._entrance = None if alias is None else Entrance(alias=alias)
        self._user_id = None if user_id is None else parse_user_id(user_id)

    async def verify_token(self, token: str) -> AccessToken | None:
        """
        Raises:
            StoreUnavailableError: Nobody can say at the moment, which is no reason to call the key bad.
        """
        alias: str | None
        proven = CURRENT.get()
        if proven is not None and proven.alias is not None:
            principal, alias = proven.principal, proven.alias
            if self._entrance is not None and self._entrance.opened_alias("", principal) != alias:
                alias = None  # what the middleware lets in at another alias is not for this one
        else:
            verifier, entrance = self._alone
            try:
                principal = await verifier.verify(token)
            except InvalidApiKeyError as error:
                if self._lines.take("bad keys"):  # of whom, the SDK does not say
                    logger.info("refused: %s", error.refusal)
                return None
            alias = entrance.opened_alias("", principal)
        if alias is None or self._user_id not in (None, principal.user_id):
            self._log.refused("not opened by this key", principal)
            return None
        return access_token(principal, alias)

    @property
    def _alone(self) -> tuple[KeyVerifier, Entrance]:
        if self._verifier is None or self._entrance is None:
            raise RuntimeError(
                "nothing has checked the endpoint: put asgi.ApiKeyMiddleware in front of the application"
            )
        return self._verifier, self._entrance


def access_token(principal: Principal, alias: str) -> AccessToken:
    """The principal in the SDK's words, by which it binds what it keeps between requests to key, endpoint and user.

    It holds no key: what is in it is printed, logged and kept. The key's id stands in its place, which stays through a
    rotation, because some take it for what tells one caller from another (FastMCP's response cache does).
    """
    expires_at = principal.grant.expires_at
    return AccessToken(
        token=principal.key_id,
        client_id=principal.key_id,
        scopes=sorted(principal.grant.scopes),
        expires_at=None if expires_at is None else int(expires_at.timestamp()),
        subject=principal.user_id,
        claims={"iss": f"urn:mcp-keys:{principal.user_id}/{alias}"},
    )
