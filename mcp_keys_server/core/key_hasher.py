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
from typing import Final, TypeVar

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
MOST_WAITING: Final = 10_000
"""Of one crowd: all users of a large server may be one, after a restart without proofs."""
MOST_WAITING_FOR_ONE: Final = 64
"""Of one crowd with keys of one prefix. Of these one is good, and every other was made up."""

Made = TypeVar("Made")


class KeyHasher:
    """Hashes keys and proves that they fit, in a few threads of its own.

    bcrypt releases the interpreter's lock, so there are as many threads as cores; on Linux they run at the lowest
    scheduling priority, which lets a storm of first uses have every idle cycle and warm requests not notice. Where
    threads have no priority of their own, one core is left to the event loop instead.

    Checks wait in a lane, so that whoever can make keys up that have to be checked, with the checksum secret of a
    stolen database, delays nobody else's. A key that is made waits for those that run and for no others.

    Imported keys have no checksum, so that whoever knows a prefix can ask for a check of whatever they make up. Theirs
    go through a lane and a thread of their own, and no other key waits for them.
    """

    def __init__(self, *, cost: int = 12, most_facts: int = 100_000) -> None:
        if not CHEAPEST_COST <= cost <= DEAREST_COST:
            raise InvalidFieldError("bcrypt_cost", f"{CHEAPEST_COST} to {DEAREST_COST}; each step doubles the work")
        self._cost = cost
        self._facts = ProvenFacts(most_facts)
        self._flights: dict[tuple[bytes, str], asyncio.Future[bool]] = {}
        threads = _thread_count()
        self._threads = ThreadPoolExecutor(
            max_workers=threads, thread_name_prefix="bcrypt", initializer=_lower_priority
        )
        # One more than run, so that no thread waits until the event loop has a moment to say what is next.
        self._lane = Lane(at_once=threads + 1, most=MOST_WAITING, most_for_one=MOST_WAITING_FOR_ONE)
        self._lane_of_imported = Lane()
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

    async def prove(self, key: ApiKey, key_hash: str, *, crowd: str = "") -> bool:
        """Whether the key fits the hash, by bcrypt; many at once who ask the same share one check. Those of one crowd
        wait for each other, and one crowd for each of the others no longer than for one check.

        Raises:
            TooBusyError: Too many of this crowd wait, in all or with keys of this prefix.
        """
        digits = sha256_within(key_hash)
        if digits is not None:  # takes a microsecond, so it neither waits nor is remembered
            return hmac.compare_digest(hashlib.sha256(_plaintext(key)).hexdigest().encode(), digits.encode())
        question = self._facts.mac(key.reveal()), key_hash
        if self._facts.fitted_hash(question[0]) == key_hash:  # since the caller looked, and waited for the store
            return True
        flight = self._flights.get(question)
        if flight is None:
            check = partial(_check, key, bcrypt_within(key_hash))
            flight = asyncio.ensure_future(self._in_turn(key, check, crowd=crowd))
            self._flights[question] = flight
            flight.add_done_callback(lambda landed: self._remember(question, landed))
        # Shielded, because whoever asked first may go away while others still wait for the answer.
        return await asyncio.shield(flight)

    async def _in_turn(self, key: ApiKey, work: Callable[[], Made], *, crowd: str = "") -> Made:
        lane = self._lane_of_imported if key.imported else self._lane
        threads = self._thread_of_imported if key.imported else self._threads
        async with lane.turn(key.prefix, crowd=crowd):
            return await asyncio.get_running_loop().run_in_executor(threads, work)

    def _remember(self, question: tuple[bytes, str], landed: asyncio.Future[bool]) -> None:
        del self._flights[question]
        if not landed.cancelled() and landed.exception() is None and landed.result():
            self._facts.add(*question)

    async def hash(self, key: ApiKey) -> str:
        """A new hash of the key at the configured cost. The key is known to fit it from then on.

        Raises:
            TooBusyError: It is an imported key, and too many of them wait.
        """
        work = partial(_hash, key, self._cost)
        if key.imported:
            made = await self._in_turn(key, work)
        else:  # of somebody who is known
            made = await asyncio.get_running_loop().run_in_executor(self._threads, work)
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
