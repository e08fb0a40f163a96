"""Who is visiting the pages: somebody with a session, or somebody whom a trusted proxy has signed in."""

from starlette.requests import Request
from starlette.responses import Response

from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.errors import InvalidFieldError, NotPermittedError, SessionEndedError
from mcp_keys_server.core.field_rules import parse_user
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.core.records import Actor, Person, Principal
from mcp_keys_server.core.sessions import LONGEST_LIFE, Sessions
from mcp_keys_server.server.trusted_proxies import user_named_by_proxy


class NotSignedInError(Exception):
    """The page is for people who are signed in."""


class UnknownPersonError(Exception):
    """The proxy has signed in somebody who is no user here, or is disabled."""

    def __init__(self) -> None:
        super().__init__("a trusted proxy names nobody who is a user")


class TooManyVisitsError(Exception):
    """Somebody asks for pages without end, each of which costs the database a look, and signing in a write."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many visits of the pages")
        self.seconds = seconds


class Visitors:
    """Says on whose behalf a page is asked for, by what holds at this moment."""

    def __init__(self, sessions: Sessions, store: KeyStore, visits: Throttle, *, https: bool) -> None:
        self._sessions = sessions
        self._store = store
        self._visits = visits
        self._https = https
        # The prefix makes browsers keep the cookie to this very host, over HTTPS (RFC 6265bis section 4.1.3.2).
        # Without it, one of ours goes no further than to our pages: all ports of a host share their cookies.
        self._cookie, self._path = ("__Host-mcp_keys_session", "/") if https else ("mcp_keys_session", "/keys/")

    async def actor(self, request: Request) -> Actor:
        """
        Raises:
            NotSignedInError: Nobody is signed in, or not any more.
            UnknownPersonError: A trusted proxy names somebody who is no user.
            TooManyVisitsError: They have come too often from there.
            StoreUnavailableError: Nobody can say at the moment.
        """
        named = user_named_by_proxy(request.scope)
        if named is not None:
            person = await self._person(named)
            await self._count(request, person.user_id)
            return person
        try:
            principal = await self._sessions.principal(self._token(request))
        except SessionEndedError:
            raise NotSignedInError from None
        if not principal.grant.opens(KEYS_ALIAS):
            raise NotSignedInError
        await self._count(request, principal.key_id)
        return principal

    async def sign_in(self, request: Request, response: Response, principal: Principal) -> None:
        """Begin a session, a new one whatever the browser had, and end the one that it had.

        Raises:
            NotPermittedError: The key is for other endpoints.
            TooManyVisitsError: It has signed in too often from there.
            StoreUnavailableError: Nobody can be signed in at the moment.
        """
        if not principal.grant.opens(KEYS_ALIAS):
            raise NotPermittedError("This key does not manage keys: it does not open the endpoint 'keys'.")
        await self._count(request, principal.key_id)
        await self._sessions.end(self._token(request))
        token = await self._sessions.begin(principal)
        response.set_cookie(
            self._cookie,
            token,
            max_age=int(LONGEST_LIFE.total_seconds()),
            path=self._path,
            secure=self._https,
            httponly=True,
            # Not strict: the link to a claim is opened from another site or program, and its owner is signed in.
            samesite="lax",
        )

    async def sign_out(self, request: Request, response: Response) -> None:
        await self._sessions.end(self._token(request))
        response.delete_cookie(self._cookie, path=self._path, secure=self._https, httponly=True, samesite="lax")

    async def _count(self, request: Request, who: str) -> None:
        # By network too, so that whoever has stolen a key does not keep its owner from the page that ends it.
        seconds = await self._visits.take(f"{who} {network_of(client_address(request.scope))}")
        if seconds:
            raise TooManyVisitsError(seconds)

    def _token(self, request: Request) -> str:
        sent = [
            value.strip()
            for header in request.headers.getlist("cookie")
            for name, _, value in (part.partition("=") for part in header.split(";"))
            if name.strip() == self._cookie
        ]
        # Of two, one was planted by another program on this host, and which one cannot be told.
        return sent[0] if len(sent) == 1 else ""

    async def _person(self, named: str) -> Person:
        try:
            user = await self._store.find_user(parse_user(named.strip()))
        except InvalidFieldError:
            user = None
        if user is None or user.disabled_at is not None:
            raise UnknownPersonError
        return Person(user.user_id)
