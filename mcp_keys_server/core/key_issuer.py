"""Minting secrets for keys: made, hashed, and kept by a change that may still refuse them."""

from collections.abc import Callable
from typing import TypeVar

from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.errors import ChecksumSecretReplacedError, PrefixTakenError, StoreUnavailableError
from mcp_keys_server.core.issuance import NewSecret
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.proofs import Proofs

MOST_COLLISIONS = 8
"""With a million keys, one collision happens in 280 million creations; eight in a row mean that something is broken."""

Result = TypeVar("Result")


class KeyIssuer:
    """Makes the secret for a change. Whether there may be one is decided within the change, after the hash is made:
    that takes time, in which whoever asked may have been revoked.
    """

    def __init__(self, store: KeyStore, mint: KeyMint, hasher: KeyHasher, proofs: Proofs) -> None:
        self._store = store
        self._mint = mint
        self._hasher = hasher
        self._proofs = proofs

    async def issue(
        self, user_id: str, decide: Callable[[Holdings, NewSecret], Decision[Result]]
    ) -> tuple[Result, ApiKey]:
        """The answer of the change, and the secret that is now stored as its hash only."""
        for _ in range(MOST_COLLISIONS):
            key = self._mint.mint()
            key_hash = await self._hasher.hash(key)
            secret = NewSecret(key.prefix, key_hash, self._proofs.make(key, key_hash), key.made_with)

            def with_secret(holdings: Holdings, secret: NewSecret = secret) -> Decision[Result]:
                return decide(holdings, secret)

            try:
                return await self._store.change(user_id, with_secret), key
            except PrefixTakenError:
                continue
            except ChecksumSecretReplacedError:
                await self._mint.learn_secrets()
        raise StoreUnavailableError("no free prefix was found for a new key")
