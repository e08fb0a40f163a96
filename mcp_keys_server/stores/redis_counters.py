"""Counters in Redis or Valkey: exact, for all who count there, as long as it answers."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from mcp_keys_server.core.counters import Counters
from mcp_keys_server.stores.redis_url import RedisUrl

logger = logging.getLogger(__name__)

SECONDS_TO_ANSWER: Final = 0.25
SECONDS_BETWEEN_TRIES: Final = 1.0
MOST_CONNECTIONS: Final = 32
PREFIX: Final = "mcp-keys:"
"""Of all that is written there."""


@asynccontextmanager
async def open_redis(url: RedisUrl, otherwise: Counters) -> AsyncIterator["RedisCounters"]:
    """Counters there, and the other ones for as long as it does not answer; it need not do so yet."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=MOST_CONNECTIONS,
        timeout=SECONDS_TO_ANSWER,
        socket_connect_timeout=SECONDS_TO_ANSWER,
        socket_timeout=SECONDS_TO_ANSWER,
        retry=Retry(NoBackoff(), 1),  # for a connection that the server has closed meanwhile
        retry_on_error=[RedisConnectionError],
    )
    options = {"connection_pool": cast("Any", pool)}  # which limits documents and does not type
    storage = RedisStorage("async+redis://", implementation="redispy", **options)
    counters = RedisCounters(storage, url, otherwise)
    try:
        await counters.try_again()  # so that a wrong password is in the log at the start
        yield counters
    finally:
        await pool.disconnect()


class RedisCounters:
    """Windows begin with their first count. Nobody waits for a server that has just not answered."""

    def __init__(self, storage: RedisStorage, url: RedisUrl, otherwise: Counters) -> None:
        self._storage = storage
        self._url = url
        self._otherwise = otherwise
        self._is_away = False
        self._try_at = 0.0

    async def take(self, name: str, most: int, seconds: int) -> int:
        key = PREFIX + name
        if self._is_away and time.monotonic() >= self._try_at:
            await self.try_again()
        if not self._is_away:
            try:
                async with asyncio.timeout(SECONDS_TO_ANSWER):
                    if await self._storage.incr(key, seconds) <= most:
                        return 0
                    return max(1, math.ceil(await self._storage.get_expiry(key) - time.time()))
            except (RedisError, OSError) as error:
                self._note_trouble(error)
        return await self._otherwise.take(name, most, seconds)

    async def try_again(self) -> None:
        """See whether it counts."""
        self._try_at = time.monotonic() + SECONDS_BETWEEN_TRIES  # at once, so that of many requests one tries
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                await self._storage.incr(f"{PREFIX}try", 1)
        except (RedisError, OSError) as error:
            self._note_trouble(error)
            return
        if self._is_away:
            logger.info("%s answers again", self._url)
            self._is_away = False

    def _note_trouble(self, error: Exception) -> None:
        self._try_at = time.monotonic() + SECONDS_BETWEEN_TRIES
        if not self._is_away:
            logger.error("limits are not counted in %s until it answers: %s", self._url, _reason(error))
            self._is_away = True


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    # A server's own words may quote what it was sent, a password too.
    if isinstance(error, OSError | RedisConnectionError) and not isinstance(error, AuthenticationError):
        return str(error)
    return type(error).__name__
