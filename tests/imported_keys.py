"""Keys as the two systems made them whose keys are imported, and databases of their own schema."""

import asyncio
import hashlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import bcrypt
import pytest

from mcp_keys_server.core.changes import AddKey, AddSecret, Decision, Holdings
from mcp_keys_server.core.grant import MANAGEMENT_SCOPES, Grant
from mcp_keys_server.core.key_hash import imported_bcrypt, imported_sha256
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import KeyRecord
from tests.world import World


def hub_key() -> str:
    return "mhu_" + secrets.token_urlsafe(32)


def fleetmind_key() -> str:
    return f"fm_{secrets.token_urlsafe(32)}"


def bcrypt_of(key: str, cost: int = 4) -> str:
    return bcrypt.hashpw(key.encode(), bcrypt.gensalt(cost)).decode()


def sha256_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def put_hub_key(store: KeyStore, user_id: str, key: str, *, cost: int = 4) -> str:
    """Give the user a key of the hub; its key id."""
    return await _put(store, user_id, key[4:12], imported_bcrypt(bcrypt_of(key, cost)))


async def put_fleetmind_key(store: KeyStore, user_id: str, key: str) -> str:
    return await _put(store, user_id, key[3:11], imported_sha256(sha256_of(key)))


async def _put(store: KeyStore, user_id: str, prefix: str, key_hash: str) -> str:
    def decide(holdings: Holdings) -> Decision[str]:
        at = holdings.user.created_at
        key_id = f"key_{secrets.token_hex(8)}"
        record = KeyRecord(key_id, user_id, "Imported", Grant(MANAGEMENT_SCOPES, None, None), None, at)
        return Decision(key_id, (AddKey(record), AddSecret(key_id, prefix, key_hash, at)))

    return await store.change(user_id, decide)


class SlowBcrypt:
    """The real one, which does not go on until it is let."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self.calls = 0
        self._lock = threading.Lock()

    def instead_of(self, real: Callable[..., object]) -> Callable[..., object]:
        def slow(*arguments: object) -> object:
            with self._lock:
                self.calls += 1
                self.running += 1
                self.most = max(self.most, self.running)
            self.began.set()
            self.go.wait(20)
            with self._lock:
                self.running -= 1
            return real(*arguments)

        return slow


async def settled(world: World) -> None:
    """All that was begun goes on by nothing but bcrypt."""
    for _ in range(3):
        await asyncio.sleep(0)
        await world.ring.store.check()  # which waits for the look-ups before it
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def busy_lane(world: World) -> AsyncIterator[str]:
    """While the lane has no place left for this key, which is not a good one, when it comes from 127.0.0.1."""
    key = hub_key()
    await put_hub_key(world.ring.store, "ada", key)
    slow = SlowBcrypt()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bcrypt, "checkpw", slow.instead_of(bcrypt.checkpw))
        forgeries = [key[:12] + f"{number:035}" for number in range(4)]
        verify = world.ring.verifier.verify
        crowd = [asyncio.ensure_future(verify(forgery, client="127.0.0.1")) for forgery in forgeries[:3]]
        await settled(world)
        try:
            yield forgeries[3]
        finally:
            slow.go.set()
        await asyncio.gather(*crowd, return_exceptions=True)
