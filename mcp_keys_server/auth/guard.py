"""The ASGI middleware that lets a request in with its principal, or answers it."""

import logging
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_keys_server.auth import answers
from mcp_keys_server.auth.credential import NoCredentialError, SeveralCredentialsError, presented_key
from mcp_keys_server.auth.line_budget import LineBudget
from mcp_keys_server.auth.loop_turns import LoopTurns
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.open_responses import CURRENT, Ending, OpenResponse, OpenResponses
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.api_key import prefix_of
from mcp_keys_server.core.errors import InvalidApiKeyError, StoreUnavailableError, TooBusyError
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.core.records import Principal
from mcp_keys_server.core.verifier import KeyVerifier

logger = logging.getLogger(__name__)

PRINCIPAL: Final = "mcp_keys.principal"
"""Where in the ASGI scope the principal of a request stands."""

_ANSWERS: Final[dict[type[Exception], Response]] = {
    NoCredentialError: answers.NO_KEY,
    SeveralCredentialsError: answers.SEVERAL_KEYS,
    InvalidApiKeyError: answers.BAD_KEY,
    StoreUnavailableError: answers.UNAVAILABLE,
    TooBusyError: answers.TOO_BUSY,
}
_REFUSED: Final = tuple(_ANSWERS)
_ANSWERS_AT_THE_END: Final[dict[Ending, Response]] = {
    Ending.KEY: answers.BAD_KEY,
    Ending.ENDPOINT: answers.WRONG_ENDPOINT,
    Ending.STORE: answers.UNAVAILABLE,
}


class KeyGuard:
    """Lets a request with a good key through, its principal in the scope; nothing behind it sees an unproven one.

    The key has to stay good while it is answered. When it ends, what answers is cancelled: a response that has not
    begun becomes a refusal, and of one that has begun nothing more is sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: KeyVerifier,
        open_responses: OpenResponses,
        failures: Throttle | None = None,
        *,
        over_socket: bool = False,
    ) -> None:
        """With ``over_socket`` it is known how requests get here: see ``KeyVerifier.verify``."""
        self._app = app
        self._over_socket = over_socket
        self._verifier = verifier
        self._open_responses = open_responses
        self._failures = failures
        self._lines = LineBudget()
        self._lines_of_floods = LineBudget(0, of="too many failures")
        self._turns = LoopTurns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        with self._turns.preferred() as prefer_no_longer:
            try:
                presented = presented_key(scope["headers"])
                principal = await self._verifier.verify(
                    presented, client=client_address(scope), over_socket=self._over_socket
                )
            except _REFUSED as error:
                prefer_no_longer()
                await self._turns.take()  # or a flood of these keeps everybody with a good key waiting
                await (await self._refusal(error, scope))(scope, receive, send)
                return
            scope[PRINCIPAL] = principal
            await self._answer(OpenResponse(prefix_of(presented), principal), scope, receive, send, prefer_no_longer)

    async def _answer(
        self, response: OpenResponse, scope: Scope, receive: Receive, send: Send, prefer_no_longer: Callable[[], None]
    ) -> None:
        begun = False

        async def send_while_open(message: Message) -> None:
            nonlocal begun
            if response.ending is None:  # else it goes nowhere: it is what something that is cancelled says at last
                await send(message)
                begun = True
                prefer_no_longer()  # what follows may last for as long as its client likes

        self._open_responses.add(response)
        outer = CURRENT.set(response)
        try:
            with response.cancel_scope:
                await self._app(scope, receive, send_while_open)
        except Exception:
            if response.ending is None:
                raise
            # Of the application's haste to be gone, which is nobody's concern.
            logger.debug("an ended response left an error behind", exc_info=True)
        finally:
            CURRENT.reset(outer)
            self._open_responses.remove(response)
        if response.ending is not None and not begun:
            await _ANSWERS_AT_THE_END[response.ending](scope, receive, send)
        # One that has begun is left incomplete, upon which the server closes the connection: whoever reads it sees
        # that it was cut, and does not take it for the whole.

    async def _refusal(self, error: Exception, scope: Scope) -> Response:
        network = network_of(client_address(scope))
        who = f"client={network}"
        if self._failures is not None and isinstance(error, InvalidApiKeyError):
            seconds = await self._failures.take(network)
            if seconds:
                self._lines_of_floods.take(who)
                return answers.too_many_failures(seconds)
        if self._lines.take(who):
            _log_refusal(error, scope)
        return _ANSWERS[type(error)]


def principal_of(scope: Scope) -> Principal:
    """The principal that the guard has put there."""
    principal = scope[PRINCIPAL]
    assert isinstance(principal, Principal)  # noqa: S101 - a wiring error, not an input
    return principal


def _log_refusal(error: Exception, scope: Scope) -> None:
    client = client_address(scope)
    match error:
        case InvalidApiKeyError():
            known = "" if error.key_id is None else f" key_id={error.key_id} user_id={error.user_id}"
            logger.info("refused: %s%s client=%s", error.refusal, known, client)
        case StoreUnavailableError():
            logger.error("nobody is let in: %s client=%s", error, client)
        case TooBusyError():
            logger.warning("not let in yet: %s client=%s", error, client)
        case SeveralCredentialsError():
            logger.info("refused: several credentials client=%s", client)
        case _:
            logger.info("refused: no key client=%s", client)
