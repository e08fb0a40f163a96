"""Sessions of the pages: a person who has shown one of their keys, for as long as that key is good and no longer."""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Final, Protocol

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import SessionEndedError
from mcp_keys_server.core.records import Principal, SessionRecord

LONGEST_IDLE: Final = timedelta(minutes=30)
LONGEST_LIFE: Final = timedelta(hours=12)
MOST_OF_A_KEY: Final = 20
"""Sessions at the same time; one more ends the oldest."""
MOST_AHEAD: Final = timedelta(minutes=1)
"""What the clocks of several machines may be apart."""
BETWEEN_NOTES: Final = timedelta(minutes=1)
"""Visits closer together are not written down one by one."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class SessionStore(Protocol):
    """Keeps sessions by the digest of their token. Every method may raise StoreUnavailableError."""

    async def add_session(self, digest: bytes, key_id: str, *, at: datetime, forget: datetime, most: int) -> None:
        """Add a session, and forget those that began before that time and all but so many of this key."""

    async def find_session(self, digest: bytes) -> SessionRecord | None: ...

    async def note_visit(self, digest: bytes, *, at: datetime) -> None: ...

    async def end_session(self, digest: bytes) -> None: ...


class Sessions:
    """Begins sessions, says whose they are, and ends them."""

    def __init__(self, store: SessionStore, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, principal: Principal) -> str:
        """A new session, as the token that stands for it and that nobody can tell from what is stored."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        # A plain digest: nobody guesses what it is of, 256 random bits.
        digest = hashlib.sha256(token.encode("ascii")).digest()
        await self._store.add_session(digest, principal.key_id, at=now, forget=now - LONGEST_LIFE, most=MOST_OF_A_KEY)
        return token

    async def principal(self, token: str) -> Principal:
        """Whose session it is, with what their key may do at this moment.

        Raises:
            SessionEndedError: There is none; or it was ended, or idle or open for too long, or its key is not good.
        """
        digest, session = await self._find(token)
        now = self._clock()
        if session is None or session.refusal(now) is not None or _is_over(session, now):
            raise SessionEndedError
        if now - session.seen_at >= BETWEEN_NOTES:
            await self._store.note_visit(digest, at=now)
        return session.principal

    async def end(self, token: str) -> None:
        """End the session, if there is one."""
        digest, session = await self._find(token)
        if session is not None:  # or else anybody could keep the one writer busy
            await self._store.end_session(digest)

    async def _find(self, token: str) -> tuple[bytes, SessionRecord | None]:
        if not _TOKEN.fullmatch(token):
            return b"", None
        digest = hashlib.sha256(token.encode("ascii")).digest()
        return digest, await self._store.find_session(digest)


def _is_over(session: SessionRecord, now: datetime) -> bool:
    # Of one that was seen in a time to come, nobody can say how long it has lasted: a clock was put back.
    if session.seen_at - now > MOST_AHEAD:
        return True
    return now - session.seen_at >= LONGEST_IDLE or now - session.signed_in_at >= LONGEST_LIFE
