"""A program that verifies keys, all of which it has verified before, with what somebody else made.

Its arguments are a name of ``PEERS`` and an empty folder. It says in a line of JSON when it is ready, then reads from
standard input how often it is to verify, says how long that took, and so on until the end of its standard input. It
runs with the peers' own Python, so it imports nothing of the product.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Final, TypedDict

Verify = Callable[[str], Awaitable[object]]
"""What it gives for a good key is true."""
Ready = tuple[Verify, Sequence[str]]
"""And the keys that it knows."""
Peer = Callable[[Path], AbstractAsyncContextManager[Ready]]

KEYS: Final = 10
"""As few as this, because some search for them from one end to the other where they are kept in memory."""
PEPPER: Final = "a pepper of the benchmark"


class Taken(TypedDict):
    seconds: float
    processor_seconds: float


@asynccontextmanager
async def static_tokens(_: Path) -> AsyncIterator[Ready]:
    from fastmcp.server.auth import StaticTokenVerifier

    keys = [f"token-{number}" for number in range(KEYS)]
    yield StaticTokenVerifier({key: {"client_id": key, "scopes": []} for key in keys}).verify_token, keys


@asynccontextmanager
async def fastmcp_guard(_: Path) -> AsyncIterator[Ready]:
    from fastmcp_guard.keys.store import KeyStore
    from fastmcp_guard.keys.verifier import KeyStoreVerifier

    store = KeyStore("memory")
    yield KeyStoreVerifier(store).verify_token, [str(store.create(name="one").token)]  # each takes a bcrypt hash


@asynccontextmanager
async def mcphub(folder: Path) -> AsyncIterator[Ready]:
    """With its cache: for five minutes it does not ask its database whether a key is still good."""
    # Its package imports the whole of its server; a package of the same name and place that does not is enough.
    from importlib.machinery import PathFinder
    from types import ModuleType

    found = PathFinder.find_spec("core")
    assert found is not None
    package = ModuleType("core")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["core"] = package
    from core.database import initialize_database
    from core.user_keys import UserKeyManager

    database = await initialize_database(str(folder / "hub.db"))
    try:
        user = await database.create_user("ada@example.com", "Ada", "github", "1")
        manager = UserKeyManager()
        yield manager.validate_key, [(await manager.create_key(user["id"], "one"))["key"]]  # each takes a bcrypt hash
    finally:
        await database.close()


@asynccontextmanager
async def keyshield_in_memory(_: Path) -> AsyncIterator[Ready]:
    from keyshield.hasher.argon2 import Argon2ApiKeyHasher
    from keyshield.repositories.in_memory import InMemoryApiKeyRepository
    from keyshield.services.cached import CachedApiKeyService

    service = CachedApiKeyService(InMemoryApiKeyRepository(), Argon2ApiKeyHasher(PEPPER), min_delay=0, max_delay=0)
    yield service.verify_key, [(await service.create(name="one"))[1] for _ in range(KEYS)]


@asynccontextmanager
async def keyshield_as_it_comes(_: Path) -> AsyncIterator[Ready]:
    """The same with the delay that it makes at each verification by default."""
    from keyshield.hasher.argon2 import Argon2ApiKeyHasher
    from keyshield.repositories.in_memory import InMemoryApiKeyRepository
    from keyshield.services.cached import CachedApiKeyService

    service = CachedApiKeyService(InMemoryApiKeyRepository(), Argon2ApiKeyHasher(PEPPER))
    yield service.verify_key, [(await service.create(name="one"))[1]]


def keyshield_on_sqlite(*, cached: bool) -> Peer:
    """As its documentation has it: a session and a transaction for each request."""

    @asynccontextmanager
    async def prepared(folder: Path) -> AsyncIterator[Ready]:
        import aiocache
        from keyshield import ApiKeyService
        from keyshield.hasher.argon2 import Argon2ApiKeyHasher
        from keyshield.repositories.sql import SqlAlchemyApiKeyRepository
        from keyshield.services.cached import CachedApiKeyService
        from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

        engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'keyshield.db'}")
        sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
        hasher, cache = Argon2ApiKeyHasher(PEPPER), aiocache.SimpleMemoryCache()

        def service(session: AsyncSession) -> ApiKeyService:
            repository = SqlAlchemyApiKeyRepository(session)
            if cached:
                return CachedApiKeyService(repository, hasher, cache, min_delay=0, max_delay=0)
            return ApiKeyService(repository, hasher, min_delay=0, max_delay=0)

        async def verify(presented: str) -> object:
            async with sessions() as session, session.begin():
                return await service(session).verify_key(presented)

        async with sessions() as session, session.begin():
            await SqlAlchemyApiKeyRepository(session).ensure_table(engine)
            keys = [(await service(session).create(name="one"))[1] for _ in range(KEYS)]
        yield verify, keys
        await engine.dispose()

    return prepared


@asynccontextmanager
async def django_api_key(_: Path) -> AsyncIterator[Ready]:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        INSTALLED_APPS=["rest_framework_api_key"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
    )
    # Django refuses its database on a thread that has an event loop, unless it is told that nobody else waits there.
    import os

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    django.setup()
    call_command("migrate", verbosity=0)
    from rest_framework_api_key.models import APIKey

    async def verify(presented: str) -> object:
        return APIKey.objects.is_valid(presented)

    yield verify, [APIKey.objects.create_key(name="one")[1] for _ in range(KEYS)]


PEERS: Final[Mapping[str, Peer]] = {
    "django-api-key": django_api_key,
    "fastmcp-guard": fastmcp_guard,
    "fastmcp-static": static_tokens,
    "keyshield": keyshield_in_memory,
    "keyshield-as-it-comes": keyshield_as_it_comes,
    "keyshield-sqlite": keyshield_on_sqlite(cached=False),
    "keyshield-sqlite-cached": keyshield_on_sqlite(cached=True),
    "mcphub": mcphub,
}


async def take(verify: Verify, presented: Sequence[str]) -> Taken:
    gc.collect()
    gc.disable()
    processor, started = time.process_time(), time.perf_counter()
    try:
        for one in presented:
            if not await verify(one):
                raise RuntimeError("a good key was refused")
        # What a verification leaves to be done afterwards is a part of it.
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)
        return Taken(seconds=time.perf_counter() - started, processor_seconds=time.process_time() - processor)
    finally:
        gc.enable()


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(name: str, folder: Path) -> None:
    async with PEERS[name](folder) as (verify, keys):
        await take(verify, keys)  # so that all have been verified once
        say("ready")
        for line in sys.stdin:
            say(await take(verify, list(islice(cycle(keys), json.loads(line)))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
