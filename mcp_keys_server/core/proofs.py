"""The proofs that keys fit their hashes, as they are kept with the hashes, for whoever has the proof secret.

With them, bcrypt runs once in the life of a key, and not once in that of each process. They say nothing of whether the
key is good.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Final

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.records import ProvenHash

MOST_WAITING: Final = 5_000
"""As many as are written in one transaction, in a fraction of a second; bcrypt proves no more in the time between."""
_PURPOSE: Final = b"mcp-keys-server: that a key fits its hash"
_PROOF_BYTES: Final = 16


class Proofs:
    """A proof is an HMAC-SHA-256 over a key and its hash, cut to 128 bits, under a key that is derived from the proof
    secret.

    The secret is kept outside the database. Without it, a proof can neither be made nor be compared with a guess: who
    steals the database learns nothing that the bcrypt hash did not tell. Nothing but speed is lost with the secret:
    proofs under another one do not match, so bcrypt is asked again, and they are written anew.

    Not a keyed BLAKE2b, which takes half the time, because it is not made on the way of a warm request, which is
    answered from ``proven_facts``: only at the first use of a key in a process.
    """

    def __init__(
        self, secret: bytes | None, record_proofs: Callable[[Mapping[str, ProvenHash]], Awaitable[None]]
    ) -> None:
        # Derived, so that the secret may serve other purposes later, and none of them tells anything of another.
        self._key = None if secret is None else hmac.digest(secret, _PURPOSE, "sha256")
        self._record_proofs = record_proofs
        self._waiting: dict[str, ProvenHash] = {}

    def make(self, key: ApiKey, key_hash: str) -> bytes | None:
        """What says that this key fits this hash, which is for the caller to know; None: there is no proof secret."""
        if self._key is None:
            return None
        # Neither a key nor a hash holds a NUL, so no two pairs are one text.
        return hmac.digest(self._key, f"{key.reveal()}\0{key_hash}".encode(), "sha256")[:_PROOF_BYTES]

    def hold(self, proof: bytes | None, key: ApiKey, key_hash: str) -> bool:
        """Whether it says so. False means only that it is not known."""
        if proof is None:
            return False
        made = self.make(key, key_hash)
        return made is not None and hmac.compare_digest(made, proof)

    def note(self, key: ApiKey, key_hash: str) -> None:
        """Have it written down, beside the requests, that this key fits this hash, which is stored."""
        proof = self.make(key, key_hash)
        # Those for which there is no place are proven and noted again by the next process.
        if proof is not None and len(self._waiting) < MOST_WAITING:
            self._waiting[key.prefix] = ProvenHash(key_hash, proof)

    async def write(self) -> None:
        """Write down what was noted.

        Raises:
            StoreUnavailableError: It could not be written and is kept.
        """
        if not self._waiting:
            return
        noted, self._waiting = self._waiting, {}
        try:
            await self._record_proofs(noted)
        except BaseException:
            room = MOST_WAITING - len(self._waiting)
            self._waiting = dict(islice(noted.items(), room)) | self._waiting
            raise
