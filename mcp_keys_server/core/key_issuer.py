"""Making a key real: minted, hashed, stored."""

import secrets

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import PrefixTakenError, StoreUnavailableError
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import KeyRecord

MOST_COLLISIONS = 8
"""With a million keys, one collision happens in 280 million creations; eight in a row mean that something is broken."""


class KeyIssuer:
    """Issues keys. Whoever calls it has decided that the key may exist."""

    def __init__(self, store: KeyStore, mint: KeyMint, hasher: KeyHasher, clock: Clock) -> None:
        self._store = store
        self._mint = mint
        self._hasher = hasher
        self._clock = clock

    async def issue(
        self, user_id: str, name: str, grant: Grant, *, parent_key_id: str | None
    ) -> tuple[KeyRecord, ApiKey]:
        for _ in range(MOST_COLLISIONS):
            key = self._mint.mint()
            key_hash = await self._hasher.hash(key)
            record = KeyRecord(
                key_id=f"key_{secrets.token_hex(8)}",
                user_id=user_id,
                name=name,
                prefix=key.prefix,
                grant=grant,
                parent_key_id=parent_key_id,
                created_at=self._clock(),
            )
            try:
                await self._store.add_key(record, key_hash)
            except PrefixTakenError:
                continue
            return record, key
        raise StoreUnavailableError("no free prefix was found for a new key")
