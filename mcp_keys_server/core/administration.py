"""What the operator may do, who has the database in their hands: with everybody's keys, and with users."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio

from mcp_keys_server.core import issuance, upkeep
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.checksum_secret_store import ChecksumSecretStore, NeedOfSecret
from mcp_keys_server.core.checksum_secrets import SECONDS_TO_BE_KNOWN
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import KeyNotFoundError, UserExistsError, UserNotFoundError
from mcp_keys_server.core.field_rules import (
    check_overlap,
    parse_email,
    parse_key_id,
    parse_name,
    parse_reason,
    parse_user,
    parse_user_id,
)
from mcp_keys_server.core.grant import AS_IT_IS, RequestedGrant
from mcp_keys_server.core.issuance import NewKey, NewSecret
from mcp_keys_server.core.key_filter import KeyFilter
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_manager import NEWEST, OVERLAP_HOURS
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import BEGINNING, EVERYBODY, OPERATOR, Entry, Event, EventKind, Head, follow_all
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy
from mcp_keys_server.core.records import KeyRecord, UserRecord
from mcp_keys_server.core.review import EXPIRING_DAYS, UNUSED_DAYS, Finding, review

EVENTS_AT_A_TIME = 1_000

Result = TypeVar("Result")


class Administration:
    """The operator's side of the keys: no actor, no attenuation, every user within reach, and the same ledger.

    Every method may raise InvalidFieldError where an argument breaks the rule of its field, UserNotFoundError where
    there is no such user, and KeyNotFoundError where nobody has such a key or, if it is to be changed, it was revoked.
    """

    def __init__(
        self,
        store: KeyStore,
        issuer: KeyIssuer,
        checksum_secrets: ChecksumSecretStore,
        *,
        policy: KeyPolicy = NO_LIMITS,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._checksum_secrets = checksum_secrets
        self._policy = policy
        self._clock = clock

    async def add_user(self, user_id: str, *, email: str | None = None, name: str | None = None) -> UserRecord:
        """
        Raises:
            UserExistsError: The user id or the e-mail is taken.
        """
        user = UserRecord(
            user_id=parse_user_id(user_id),
            email=None if email is None else parse_email(email),
            name=None if name is None else parse_name(name),
            created_at=self._clock(),
        )
        await self._store.add_user(user, Event(EventKind.USER_ADDED, user.created_at, user.user_id, None, OPERATOR))
        return user

    async def find_or_add_user(self, user: str, *, email: str | None, name: str | None) -> UserRecord:
        """The user with this e-mail, or with this id, who is added where there is none.

        Raises:
            UserNotFoundError: Nobody has the e-mail by which the user was named.
            UserExistsError: The other e-mail is somebody else's, or the user has another.
        """
        # Added first and looked for afterwards, because of several who start at once all but one find them there.
        if "@" not in user:
            with suppress(UserExistsError):
                return await self.add_user(user, email=email, name=name)
        found = await self._store.find_user(parse_user(user))
        if found is None and "@" in user:
            raise UserNotFoundError
        if found is None or (email is not None and parse_email(email) != found.email):
            raise UserExistsError
        return found

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._store.list_users()

    async def disable_user(self, user: str) -> UserRecord:
        """Refuse all keys and pages of a user until they are enabled again."""
        return await self._switch_user(user, off=True)

    async def enable_user(self, user: str) -> UserRecord:
        return await self._switch_user(user, off=False)

    async def create_key(self, user: str, *, name: str, requested: RequestedGrant) -> tuple[KeyRecord, ApiKey]:
        """Make a key for the user with this id or e-mail; one that manages keys unless other scopes are
        requested.

        Raises:
            NotPermittedError, TooManyKeysError: It is against the operator's own policy.
        """
        new = NewKey(parse_name(name), requested)
        owner = await self._find_user(user)

        def decide(holdings: Holdings, secret: NewSecret) -> Decision[KeyRecord]:
            deed = self._deed()
            key = issuance.create(holdings, deed, new, self._policy)
            return issuance.with_secret(key, deed, secret)

        return await self._issuer.issue(owner.user_id, decide)

    async def rotate_key(self, key_id: str, *, overlap_hours: float = OVERLAP_HOURS) -> tuple[KeyRecord, ApiKey]:
        """
        Raises:
            NotRotatableError: It is not active, or is being rotated.
        """
        parsed_id, overlap = parse_key_id(key_id), check_overlap(overlap_hours)
        owner = await self._owner(parsed_id)

        def decide(holdings: Holdings, secret: NewSecret) -> Decision[KeyRecord]:
            return issuance.rotate(holdings, self._deed(), secret, key_id=parsed_id, overlap=overlap)

        return await self._issuer.issue(owner, decide)

    async def list_keys(
        self, user: str | None = None, *, include_ended: bool = False, fitting: KeyFilter | None = None
    ) -> Sequence[KeyRecord]:
        """One user's keys, or everybody's; those that fit."""
        owner = None if user is None else (await self._find_user(user)).user_id
        found = await self._store.list_all_keys(owner, include_ended=include_ended, now=self._clock())
        return [key for key in found if fitting is None or fitting.fits(key)]

    async def update_key(
        self, key_id: str, *, name: str | None = None, requested: RequestedGrant = AS_IT_IS
    ) -> KeyRecord:
        """Rename a key, or narrow what it may; what it made is narrowed with it. What is None stays as it is.

        Raises:
            NotPermittedError: It would not be narrowed.
        """
        parsed_name = None if name is None else parse_name(name)
        return await self._change_key(key_id, partial(upkeep.update, name=parsed_name, requested=requested))

    async def review_keys(
        self, user: str | None = None, *, unused_days: float = UNUSED_DAYS, expiring_days: float = EXPIRING_DAYS
    ) -> Sequence[Finding]:
        """What is worth a look at one user's keys, or everybody's."""
        found = await self.list_keys(user, include_ended=True)
        return review(found, self._clock(), unused_days=unused_days, expiring_days=expiring_days)

    async def end_older_secrets(self, key_id: str) -> KeyRecord:
        """End what a rotation has left good beside the newest secret."""
        return await self._change_key(key_id, upkeep.end_older_secrets)

    async def take_back_secret(self, key_id: str, *, prefix: str) -> None:
        """Undo a rotation whose new secret reached nobody."""
        await self._change_key(key_id, partial(upkeep.take_back_secret, prefix=prefix))

    async def revoke_key(self, key_id: str, *, reason: str | None, cascade: bool = False) -> KeyRecord:
        """End a key for good, and, if told so, all that it made. Ending it again changes nothing."""
        ended = await self.end_key(key_id, reason=reason, cascade=cascade)
        return upkeep.ended_now(ended, key_id) or await self._find_key(key_id)

    async def end_key(self, key_id: str, *, reason: str | None, cascade: bool = False) -> Sequence[KeyRecord]:
        """The same; those that ended now."""
        parsed_reason = None if reason is None else parse_reason(reason)
        return await self._change_key(key_id, partial(upkeep.revoke, reason=parsed_reason, cascade=cascade))

    async def disable_key(self, key_id: str) -> KeyRecord:
        return await self._change_key(key_id, upkeep.disable)

    async def enable_key(self, key_id: str) -> KeyRecord:
        return await self._change_key(key_id, upkeep.enable)

    async def list_events(self, user: str | None = None, *, limit: int = EVENTS_AT_A_TIME) -> Sequence[Entry]:
        """What was done, the newest first."""
        owner = None if user is None else (await self._find_user(user)).user_id
        return await self._store.list_events(owner, before=NEWEST, limit=limit)

    async def verify_events(self, known: Head = BEGINNING) -> Head:
        """Follow the ledger from its beginning, past the head that is known, to its end; that is the new head.

        Raises:
            BrokenLedgerError: It is not what was written; the message names the first entry that shows it.
        """
        return await follow_all(lambda first: self._store.follow_events(first, limit=EVENTS_AT_A_TIME), known)

    async def replace_checksum_secret(self, wait: Callable[[float], Awaitable[object]] = anyio.sleep) -> None:
        """Have the checksums of new keys be made with a new secret. It takes as long as every process needs to learn of
        it; cut short, it is done again from the beginning.

        Raises:
            TooManySecretsError: There are so many already.
            AnotherSecretAnnouncedError: Another replacement was begun meanwhile.
        """
        secret_id = await self._checksum_secrets.announce()
        await wait(SECONDS_TO_BE_KNOWN)
        await self._checksum_secrets.use_announced(secret_id, self._event_of_all(EventKind.CHECKSUM_SECRET_REPLACED))

    async def forget_checksum_secrets(self) -> Sequence[NeedOfSecret]:
        """Recognise no longer those that were replaced and that no key needs, and give the keys that need one of the
        others: a thousand of them at most.
        """
        return await self._checksum_secrets.forget(self._event_of_all(EventKind.CHECKSUM_SECRETS_FORGOTTEN))

    async def _change_key(self, key_id: str, decide: Callable[[Holdings, Deed, str], Decision[Result]]) -> Result:
        parsed_id = parse_key_id(key_id)
        owner = await self._owner(parsed_id)
        return await self._store.change(owner, lambda holdings: decide(holdings, self._deed(), parsed_id))

    async def _switch_user(self, user: str, *, off: bool) -> UserRecord:
        user_id = (await self._find_user(user)).user_id
        return await self._store.change(user_id, lambda holdings: upkeep.switch_user(holdings, self._deed(), off=off))

    async def _owner(self, key_id: str) -> str:
        return (await self._find_key(key_id)).user_id

    async def _find_key(self, key_id: str) -> KeyRecord:
        owner = await self._store.find_owner(key_id)
        key = None if owner is None else await self._store.find_key(owner, key_id)
        if key is None:
            raise KeyNotFoundError
        return key

    async def _find_user(self, user: str) -> UserRecord:
        found = await self._store.find_user(parse_user(user))
        if found is None:
            raise UserNotFoundError
        return found

    def _event_of_all(self, kind: EventKind) -> Event:
        return Event(kind, self._clock(), EVERYBODY, None, OPERATOR)

    def _deed(self) -> Deed:
        return Deed(OPERATOR, self._clock())
