"""From what was presented to whom it belongs: the one place where a key is let in or refused."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from mcp_keys_server.core.api_key import ApiKey, KeyMint, prefix_of
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import InvalidApiKeyError, Refusal, StoreUnavailableError, TooBusyError
from mcp_keys_server.core.key_hash import is_imported
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.networks import network_of
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.records import Principal, SecretRecord
from mcp_keys_server.core.usage import UsageLog


class KeyVerifier:
    """Says whose a key is, by what the store holds at that moment."""

    def __init__(  # noqa: PLR0913 - each is another's work
        self,
        store: KeyStore,
        mint: KeyMint,
        hasher: KeyHasher,
        usage: UsageLog,
        proofs: Proofs,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._mint = mint
        self._hasher = hasher
        self._usage = usage
        self._proofs = proofs
        self._clock = clock

    def finds_key_in(self, text: str) -> bool:
        """Whether a key of this store, good or not, stands in a text that is about to leave."""
        return self._mint.occurs_in(text)

    async def verify(self, presented: str, *, client: str | None = None, over_socket: bool = False) -> Principal:
        """Say whose key this is. The network address of the client is noted with the use.

        What came over a socket in an earlier turn of the event loop, as with asyncio and uvicorn, may be judged by what
        holds at some moment of this turn; anything else is by what holds now.

        Raises:
            InvalidApiKeyError: It is nobody's, or it is revoked, expired or its owner disabled.
            StoreUnavailableError: Nobody can say at the moment.
            TooBusyError: It may be a good key, and too many of this client's network wait for their first check.
        """
        proven = self._hasher.known_hash(presented)
        if proven is None:
            await self._mint.recognise(presented)  # before the store is asked: it hears of no key that was made up
        prefix = prefix_of(presented)
        read = self._store.read_secret_in_turn if over_socket else self._store.read_secret
        while True:
            record, now = await self._live(prefix, read)
            if record.key_hash == proven:
                self._usage.note(prefix, now, client)
                return record.principal
            # bcrypt takes its time: what was read before it decides nothing, so the record is read again after it.
            crowd = "" if client is None else network_of(client)
            proven = await self._prove(self._mint.parse(presented), record.key_hash, record.proof, crowd)

    async def look_again(self, prefix: str) -> Principal:
        """Say what a key that was verified a while ago, and has this prefix, proves by now.

        Raises:
            InvalidApiKeyError: It is good no longer.
            StoreUnavailableError: Nobody can say at the moment.
        """
        record, _ = await self._live(prefix, self._store.read_secret)
        return record.principal

    async def _live(
        self, prefix: str, read: Callable[[str], Awaitable[SecretRecord | None]]
    ) -> tuple[SecretRecord, datetime]:
        record = await read(prefix)
        if record is None:
            raise InvalidApiKeyError(Refusal.UNMATCHED)
        now = self._clock()
        refusal = record.refusal(now)
        if refusal is not None:
            whose = record.principal
            raise InvalidApiKeyError(refusal, key_id=whose.key_id, user_id=whose.user_id)
        return record, now

    async def _prove(self, key: ApiKey, key_hash: str, proof: bytes | None, crowd: str) -> str:
        """The hash that the key fits and that is kept from now on, which is this one or a stronger one."""
        if not self._proofs.hold(proof, key, key_hash):
            # An imported key may be made up by anybody, so none is tried on the hash of a key that has a checksum.
            fits = key.imported == is_imported(key_hash) and await self._hasher.prove(key, key_hash, crowd=crowd)
            if not fits:
                raise InvalidApiKeyError(Refusal.UNMATCHED)
            self._proofs.note(key, key_hash)
        if self._hasher.is_cheaper_than_configured(key_hash):
            # Proven it is whether or not a stronger hash can be made and kept; another use, or process, tries again.
            with suppress(StoreUnavailableError, TooBusyError):
                stronger = await self._hasher.hash(key)
                made = self._proofs.make(key, stronger)
                await self._store.replace_key_hash(key.prefix, old=key_hash, new=stronger, proof=made)
                return stronger
        self._hasher.take_as_known(key, key_hash)  # and not a stronger one that could not be kept
        return key_hash
