"""Invitations: links with which a user gets a key that nobody has seen before them, the operator included."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mcp_keys_server.core import issuance, upkeep
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import ClaimNotOpenError, InvitationNotFoundError
from mcp_keys_server.core.field_rules import parse_name
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.issuance import NewKey, NewSecret
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import OPERATOR, Doer
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy
from mcp_keys_server.core.records import Claim, KeyRecord, KeyStatus

INVITATION_LIFE: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Invitation:
    """The key that waits, and the code that is the right to claim it, kept by nobody but the invited."""

    key: KeyRecord
    code: str


class Invitations:
    """Invites users, and redeems what they bring. The code is the proof, for those who have no key to prove
    themselves with; it is good once and for a time.
    """

    def __init__(
        self,
        store: KeyStore,
        issuer: KeyIssuer,
        *,
        policy: KeyPolicy = NO_LIMITS,
        invitation_life: timedelta = INVITATION_LIFE,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._policy = policy
        self._invitation_life = invitation_life
        self._clock = clock

    async def invite(self, user_id: str, *, name: str, requested: RequestedGrant) -> Invitation:
        """Invite an existing user. Invitations that they have not used are revoked, because they may be lost.

        Raises:
            InvalidFieldError: The name breaks its rule.
        """
        new, code = NewKey(parse_name(name), requested), secrets.token_urlsafe(32)

        def decide(holdings: Holdings) -> Decision[KeyRecord]:
            deed = Deed(OPERATOR, self._clock())
            claim = Claim(deed.now + self._invitation_life, by_invitation=True)
            return issuance.invite(holdings, deed, new, self._policy, claim=claim, digest=_digest(code))

        return Invitation(await self._store.change(user_id, decide), code)

    async def find(self, code: str) -> KeyRecord:
        """The key that the code gives, whether or not it can still be claimed.

        Raises:
            InvitationNotFoundError: There is no such code.
        """
        key = await self._store.find_invitation(_digest(code))
        if key is None:
            raise InvitationNotFoundError
        return key

    async def accept(self, code: str, *, claimed_from: str | None) -> tuple[KeyRecord, ApiKey]:
        """Make the secret of the key and spend the invitation.

        Raises:
            InvitationNotFoundError: There is no such code.
            ClaimNotOpenError: It was used before, it has lapsed, or the key was revoked.
        """
        key = await self.find(code)
        if key.status(self._clock()) is not KeyStatus.UNCLAIMED:  # which takes no bcrypt to say
            raise ClaimNotOpenError

        def decide(holdings: Holdings, secret: NewSecret) -> Decision[KeyRecord]:
            return issuance.claim(holdings, self._deed(claimed_from), secret, key_id=key.key_id)

        return await self._issuer.issue(key.user_id, decide)

    async def disown(self, code: str, *, client: str | None = None) -> KeyRecord:
        """Revoke the key and all that it made, because somebody else used the invitation. Possible as long as an
        invitation lasts, so that a link found much later in a mailbox ends nothing.

        Raises:
            InvitationNotFoundError: There is no such code, or it is too old.
        """
        key = await self.find(code)
        if key.claim is None or key.claim.lapses_at <= self._clock():
            raise InvitationNotFoundError

        def decide(holdings: Holdings) -> Decision[tuple[KeyRecord, ...]]:
            reason = "disowned by whoever was invited"
            return upkeep.revoke(holdings, self._deed(client), key.key_id, reason, cascade=True)

        ended = await self._store.change(key.user_id, decide)
        return upkeep.ended_now(ended, key.key_id) or await self.find(code)

    def _deed(self, client: str | None) -> Deed:
        return Deed(Doer("invitation", client=client), self._clock())


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
