"""What the operator may do, who has the database in their hands: with everybody's keys, and with users."""

from collections.abc import Sequence
from contextlib import suppress

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import KeyNotFoundError, UserExistsError, UserNotFoundError
from mcp_keys_server.core.field_rules import (
    parse_email,
    parse_key_id,
    parse_name,
    parse_reason,
    parse_user,
    parse_user_id,
)
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import KeyRecord, NewKey, UserRecord


class Administration:
    """The operator's side of the keys: no principal, no attenuation, every user within reach."""

    def __init__(self, store: KeyStore, issuer: KeyIssuer, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def add_user(self, user_id: str, *, email: str | None = None, name: str | None = None) -> UserRecord:
        """
        Raises:
            InvalidFieldError: A field breaks its rule.
            UserExistsError: The user id or the e-mail is taken.
        """
        user = UserRecord(
            user_id=parse_user_id(user_id),
            email=None if email is None else parse_email(email),
            name=None if name is None else parse_name(name),
            created_at=self._clock(),
        )
        await self._store.add_user(user)
        return user

    async def find_or_add_user(self, user_id: str, *, email: str | None, name: str | None) -> UserRecord:
        """The user with this id, who is added where there is none.

        Raises:
            InvalidFieldError: A field breaks its rule.
            UserExistsError: The e-mail is somebody else's, or the user has another.
        """
        # Added first and looked for afterwards, because of several who start at once all but one find them there.
        with suppress(UserExistsError):
            return await self.add_user(user_id, email=email, name=name)
        found = await self._store.find_user(user_id)
        if found is None or (email is not None and parse_email(email) != found.email):
            raise UserExistsError
        return found

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._store.list_users()

    async def create_key(self, user: str, *, name: str, requested: RequestedGrant) -> tuple[KeyRecord, ApiKey]:
        """Make a key for the user with this id or e-mail; one that manages keys unless other scopes are
        requested.

        Raises:
            InvalidFieldError: A field breaks its rule.
            UserNotFoundError: There is no such user.
        """
        parsed_name = parse_name(name)
        owner = await self._find_user(user)
        return await self._issuer.issue(NewKey(owner.user_id, parsed_name, requested.root(self._clock())))

    async def list_keys(self, user: str | None = None, *, include_ended: bool = False) -> Sequence[KeyRecord]:
        """One user's keys, or everybody's.

        Raises:
            UserNotFoundError: There is no such user.
        """
        owner = None if user is None else (await self._find_user(user)).user_id
        return await self._store.list_all_keys(owner, include_ended=include_ended, now=self._clock())

    async def revoke_key(self, key_id: str, *, reason: str | None) -> KeyRecord:
        """
        Raises:
            InvalidFieldError: A field breaks its rule.
            KeyNotFoundError: Nobody has such a key.
        """
        parsed_id = parse_key_id(key_id)
        parsed_reason = None if reason is None else parse_reason(reason)
        owner = await self._store.find_owner(parsed_id)
        revoked = owner and await self._store.revoke_key(owner, parsed_id, at=self._clock(), reason=parsed_reason)
        if not revoked:
            raise KeyNotFoundError
        return revoked

    async def _find_user(self, user: str) -> UserRecord:
        found = await self._store.find_user(parse_user(user))
        if found is None:
            raise UserNotFoundError
        return found
