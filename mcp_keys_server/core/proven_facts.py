"""The memory of which key fits which hash."""

import secrets
from hashlib import blake2b

from mcp_keys_server.core.api_key import ApiKey


class ProvenFacts:
    """Remembers that a key fits a hash: a fact that no administrator can make untrue, and so never a stale one.

    Whether the key is good is not in here. A fact is kept as its MAC under a random key of this process, so the
    memory holds no plaintext, and nothing that could be compared with another process's memory.

    Bounded by two generations: when the young one is full it becomes the old one, and what was not asked for since
    is forgotten with the old one. At about 90 bytes a fact, without the bookkeeping of an ordered dictionary.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._generation_size = max(1, most // 2)
        self._process_key = secrets.token_bytes(32)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def holds(self, fact: bytes) -> bool:
        if fact in self._young:
            return True
        if fact in self._old:
            self.add(fact)
            return True
        return False

    def add(self, fact: bytes) -> None:
        if len(self._young) >= self._generation_size:
            self._old = self._young
            self._young = set()
        self._young.add(fact)

    def fact(self, key: ApiKey, key_hash: str) -> bytes:
        """The name under which it is remembered that this key fits this hash."""
        # 128 bits are enough, because nobody can search for collisions under a key that never leaves the process; and
        # BLAKE2b is a MAC by itself (RFC 7693 section 2.9) in a third of the time that an HMAC takes.
        return blake2b((key.reveal() + key_hash).encode(), key=self._process_key, digest_size=16).digest()
