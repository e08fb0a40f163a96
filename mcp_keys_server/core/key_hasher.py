"""bcrypt, kept off the event loop and out of everybody's way.

Why bcrypt at all, when a key holds 256 random bits and a plain SHA-256 of it could not be guessed either: it is what
the keys of both systems that this one replaces are stored with, and it makes a stolen database worthless even for
keys that somebody weakened on the way. Its price is paid once per key and process, because the fact that a key fits
its hash is remembered; see ``proven_facts``.
"""

import asyncio
import hashlib
import hmac
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import bcrypt

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.errors import InvalidFieldError, StoreUnavailableError
from mcp_keys_server.core.key_hash import bcrypt_within, imported_bcrypt, sha256_within
from mcp_keys_server.core.lane import Lane
from mcp_keys_server.core.proven_facts import ProvenFacts

CHEAPEST_COST = 4
"""What bcrypt allows at the least; only for tests."""
DEAREST_COST = 16
"""About four seconds a check."""
THREADS_HAVE_PRIORITIES = sys.platform == "linux"

Made = TypeVar("Made")


class KeyHasher:
    """Hashes keys and proves that they fit, in a few threads of its own.

    bcrypt releases the interpreter's lock, so there are as many threads as cores; on Linux they run at the lowest
    scheduling priority, which lets a storm of first uses have every idle cycle and warm requests not notice. Where
    threads have no priority of their own, one core is left to the event loop instead.

    Imported keys have no checksum, so that whoever knows a prefix can ask for a check of whatever they make up. Theirs
    go through a lane and a thread of their own, and no other key waits for them.
    """

    def __init__(self, *, cost: int = 12, most_facts: int = 100_000) -> None:
        if not CHEAPEST_COST <= cost <= DEAREST_COST:
            raise InvalidFieldError("bcrypt_cost", f"{CHEAPEST_COST} to {DEAREST_COST}; each step doubles the work")
        self._cost = cost
        self._facts = ProvenFacts(most_facts)
        self._flights: dict[tuple[bytes, str], asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(
            max_workers=_thread_count(), thread_name_prefix="bcrypt", initializer=_lower_priority
        )
        self._lane = Lane()
        self._thread_of_imported = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="bcrypt-imported", initializer=_lower_priority
        )

    def close(self) -> None:
        for threads in (self._threads, self._thread_of_imported):
            threads.shutdown(wait=False, cancel_futures=True)

    def known_hash(self, presented: str) -> str | None:
        """The key hash that this was proven to fit last. Takes no bcrypt; None means only that there is none known."""
        return self._facts.fitted_hash(self._facts.mac(presented))

    def take_as_known(self, key: ApiKey, key_hash: str) -> None:
        """Remember that the key fits, which the caller knows. That it fits a SHA-256 is not, so that each use tries to
        replace that one by a bcrypt.
        """
        if sha256_within(key_hash) is None:
            self._facts.add(self._facts.mac(key.reveal()), key_hash)

    async def prove(self, key: ApiKey, key_hash: str) -> bool:
        """Whether the key fits the hash, by bcrypt; many at once who ask the same share one check.

        Raises:
            TooBusyError: It is an imported key, and too many of them wait.
        """
        digits = sha256_within(key_hash)
        if digits is not None:  # takes a microsecond, so it neither waits nor is remembered
            return hmac.compare_digest(hashlib.sha256(_plaintext(key)).hexdigest().encode(), digits.encode())
        question = self._facts.mac(key.reveal()), key_hash
        flight = self._flights.get(question)
        if flight is None:
            flight = asyncio.ensure_future(self._in_a_thread(key, partial(_check, key, bcrypt_within(key_hash))))
            self._flights[question] = flight
            flight.add_done_callback(lambda landed: self._remember(question, landed))
        # Shielded, because whoever asked first may go away while others still wait for the answer.
        return await asyncio.shield(flight)

    async def _in_a_thread(self, key: ApiKey, work: Callable[[], Made]) -> Made:
        loop = asyncio.get_running_loop()
        if not key.imported:
            return await loop.run_in_executor(self._threads, work)
        async with self._lane.turn(key.prefix):
            return await loop.run_in_executor(self._thread_of_imported, work)

    def _remember(self, question: tuple[bytes, str], landed: asyncio.Future[bool]) -> None:
        del self._flights[question]
        if not landed.cancelled() and landed.exception() is None and landed.result():
            self._facts.add(*question)

    async def hash(self, key: ApiKey) -> str:
        """A new hash of the key at the configured cost. The key is known to fit it from then on.

        Raises:
            TooBusyError: It is an imported key, and too many of them wait.
        """
        made = await self._in_a_thread(key, partial(_hash, key, self._cost))
        key_hash = imported_bcrypt(made) if key.imported else made
        self.take_as_known(key, key_hash)
        return key_hash

    def is_cheaper_than_configured(self, key_hash: str) -> bool:
        return sha256_within(key_hash) is not None or int(bcrypt_within(key_hash)[4:6]) < self._cost


def _check(key: ApiKey, bcrypt_string: str) -> bool:
    try:
        return bcrypt.checkpw(_plaintext(key), bcrypt_string.encode("ascii"))
    except ValueError as error:  # "Invalid salt": the hash is damaged, and nobody can say whether the key is good
        raise StoreUnavailableError("a stored key hash is not a bcrypt string; restore the database") from error


def _hash(key: ApiKey, cost: int) -> str:
    return bcrypt.hashpw(_plaintext(key), bcrypt.gensalt(cost)).decode("ascii")


def _plaintext(key: ApiKey) -> bytes:
    return key.reveal().encode("ascii")


def _thread_count() -> int:
    if THREADS_HAVE_PRIORITIES:
        return len(os.sched_getaffinity(0))
    return max(1, (os.cpu_count() or 1) - 1)


def _lower_priority() -> None:
    if THREADS_HAVE_PRIORITIES:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
