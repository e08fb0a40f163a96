"""Making a key real: minted, hashed, stored, at once or when it is claimed."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import PrefixTakenError, StoreUnavailableError
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import Claim, Claimant, KeyRecord, NewKey

MOST_COLLISIONS = 8
"""With a million keys, one collision happens in 280 million creations; eight in a row mean that something is broken."""


class KeyIssuer:
    """Issues keys. Whoever calls it has decided that the key may exist, and who may claim it."""

    def __init__(self, store: KeyStore, mint: KeyMint, hasher: KeyHasher, clock: Clock) -> None:
        self._store = store
        self._mint = mint
        self._hasher = hasher
        self._clock = clock

    async def issue(self, new: NewKey) -> tuple[KeyRecord, ApiKey]:
        """A key that is good at once."""

        async def keep(key: ApiKey, key_hash: str) -> KeyRecord:
            # Dated here and not before the hash, whose making takes time in which the key's maker may expire.
            record = new.record(self._clock(), prefix=key.prefix)
            await self._store.add_key(record, key_hash)
            return record

        return await self._make_secret(keep)

    async def issue_unclaimed(
        self, new: NewKey, *, claim_life: timedelta, invitation_digest: bytes | None = None
    ) -> KeyRecord:
        """A key that has no secret and opens nothing until it is claimed."""
        now = self._clock()
        claim = Claim(now + claim_life, by_invitation=invitation_digest is not None)
        record = new.record(now, claim=claim)
        await self._store.add_unclaimed_key(record, claim, invitation_digest=invitation_digest)
        return record

    async def redeem(self, key_id: str, claimant: Claimant) -> tuple[KeyRecord, ApiKey]:
        """The secret of an unclaimed key, made now.

        Raises:
            ClaimNotOpenError: There is nothing to claim any more, so there is no secret either.
            KeyNoLongerGoodError: The key of the claimant is not good any more, so there is none either.
        """

        async def keep(key: ApiKey, key_hash: str) -> KeyRecord:
            return await self._store.spend_claim(
                key_id, claimant, prefix=key.prefix, key_hash=key_hash, at=self._clock()
            )

        return await self._make_secret(keep)

    async def _make_secret(self, keep: Callable[[ApiKey, str], Awaitable[KeyRecord]]) -> tuple[KeyRecord, ApiKey]:
        for _ in range(MOST_COLLISIONS):
            key = self._mint.mint()
            try:
                return await keep(key, await self._hasher.hash(key)), key
            except PrefixTakenError:
                continue
        raise StoreUnavailableError("no free prefix was found for a new key")
