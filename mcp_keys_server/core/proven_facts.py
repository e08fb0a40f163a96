"""The memory of which key fits which hash."""

import secrets
from hashlib import blake2b
from typing import Final

MAC_BYTES: Final = 16
"""128 bits are enough, because nobody can search for collisions under a key that never leaves the process."""


class ProvenFacts:
    """Remembers that a key fits a hash: a fact that no administrator can make untrue, and so never a stale one.

    Whether the key is good is not in here. A key is kept as its MAC under a random key of this process, so the memory
    holds no plaintext, and nothing that could be compared with another process's memory.

    Bounded by two generations: when the young one is full it becomes the old one, and what was not asked for since
    is forgotten with the old one. At about 230 bytes a fact, without the bookkeeping of an ordered dictionary.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._generation_size = max(1, most // 2)
        self._process_key = secrets.token_bytes(32)
        self._young: dict[bytes, str] = {}
        self._old: dict[bytes, str] = {}

    def mac(self, presented: str) -> bytes:
        """The name under which what was presented is remembered, if it is."""
        # BLAKE2b is a MAC by itself (RFC 7693 section 2.9), in a third of the time that an HMAC takes.
        return blake2b(
            presented.encode("utf-8", "surrogatepass"), key=self._process_key, digest_size=MAC_BYTES
        ).digest()

    def fitted_hash(self, mac: bytes) -> str | None:
        """The key hash that the key with this MAC was seen to fit last."""
        key_hash = self._young.get(mac)
        if key_hash is None and mac in self._old:
            key_hash = self._old[mac]
            self.add(mac, key_hash)
        return key_hash

    def add(self, mac: bytes, key_hash: str) -> None:
        if len(self._young) >= self._generation_size and mac not in self._young:
            self._old = self._young
            self._young = {}
        self._young[mac] = key_hash
