"""The secrets of the checksums of keys, kept in the database itself: without them, none of its keys is one.

They stand one after the other in an entry of ``meta``, the one that makes checksums first, and the one that is
announced in an entry of its own.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from mcp_keys_server.core.checksum_secrets import MOST_SECRETS, id_of
from mcp_keys_server.core.errors import (
    ChecksumSecretForgottenError,
    StoreUnavailableError,
    TooManySecretsError,
    UnusableDatabaseError,
)
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.database import SqlDatabase, Transaction

CHECKSUM_SECRET: Final = "checksum_secret"  # noqa: S105 - the name of its entry of ``meta``, not its value
ANNOUNCED_SECRET: Final = "announced_checksum_secret"  # noqa: S105
_RANDOM_BYTES: Final = 32
_DIGEST_BYTES: Final = 8
_BYTES: Final = _RANDOM_BYTES + _DIGEST_BYTES


def new_checksum_secret() -> bytes:
    """Random bytes and a digest of them, because with a secret that is damaged every key would seem to be nobody's."""
    return with_digest(secrets.token_bytes(_RANDOM_BYTES))


def with_digest(random: bytes) -> bytes:
    return random + hashlib.blake2b(random, digest_size=_DIGEST_BYTES).digest()


def whole_checksum_secrets(where: object, found: bytes | None) -> Sequence[bytes]:
    """Those that stand in an entry of a database.

    Raises:
        UnusableDatabaseError: There is none, or one is not as it was made.
    """
    parts = _parts(found or b"")
    if not parts or any(part != with_digest(part[:_RANDOM_BYTES]) for part in parts):
        raise UnusableDatabaseError(f"{where} has lost its checksum secret; restore a backup")
    return parts


def share_a_secret(one: bytes | None, other: bytes | None) -> bool:
    """Whether two databases have ever been the same: no other two have the same secret."""
    return not set(_parts(one or b"")).isdisjoint(_parts(other or b""))


class SqlChecksumSecrets:
    """Those of any database that understands the shared SQL."""

    def __init__(self, database: SqlDatabase, found: Sequence[bytes]) -> None:
        self._database = database
        self.found = found

    async def read(self) -> Sequence[bytes]:
        found = await self._database.read(tuple, sql.READ_TWO_OF_META, CHECKSUM_SECRET, ANNOUNCED_SECRET)
        return _all_of(dict(found))

    async def announce(self) -> None:
        async def work(transaction: Transaction) -> None:
            known, announced = await _held(transaction)
            if len(known) >= MOST_SECRETS:
                raise TooManySecretsError(MOST_SECRETS)
            if not announced:
                await transaction.fetch(sql.PUT_META, ANNOUNCED_SECRET, new_checksum_secret())

        await self._database.write(work)

    async def use_announced(self) -> None:
        async def work(transaction: Transaction) -> None:
            known, announced = await _held(transaction)
            if announced:
                await transaction.fetch(sql.PUT_META, CHECKSUM_SECRET, b"".join([*announced, *known]))
                await transaction.fetch(sql.PUT_META, ANNOUNCED_SECRET, b"")

        await self._database.write(work)

    async def forget(self, now: datetime) -> Sequence[str]:
        async def work(transaction: Transaction) -> Sequence[str]:
            (making, *others), _ = await _held(transaction)
            needing = [rows.need_of_key(row) for row in await transaction.fetch(sql.NEEDS_OF_KEYS, now)]
            needed = {made_with for _, made_with in needing}
            kept = [making, *(secret for secret in others if id_of(secret) in needed)]
            await transaction.fetch(sql.PUT_META, CHECKSUM_SECRET, b"".join(kept))
            return sorted({key_id for key_id, made_with in needing if made_with != id_of(making)})

        return await self._database.write(work)


async def require_known(transaction: Transaction, made_with: set[bytes]) -> None:
    """See to it that the secrets with these ids are recognised, in a transaction that holds the ledger.

    Raises:
        ChecksumSecretForgottenError: One of them is not.
    """
    known, _ = await _held(transaction)
    if not made_with.issubset(map(id_of, known)):
        raise ChecksumSecretForgottenError


async def _held(transaction: Transaction) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Those that are in use, and the one that is announced, if one is, which nobody else changes to the end of the
    transaction: who does holds the ledger.
    """
    await transaction.hold_ledger()
    found: dict[str, bytes] = dict(await transaction.fetch(sql.READ_TWO_OF_META, CHECKSUM_SECRET, ANNOUNCED_SECRET))
    every = _all_of(found)
    in_use = len(_parts(found[CHECKSUM_SECRET]))
    return every[:in_use], every[in_use:]


def _all_of(found: dict[str, bytes]) -> Sequence[bytes]:
    try:
        known = whole_checksum_secrets("the database", found.get(CHECKSUM_SECRET))
        announced = found.get(ANNOUNCED_SECRET)
        return [*known, *(whole_checksum_secrets("the database", announced) if announced else ())]
    except UnusableDatabaseError as error:
        raise StoreUnavailableError(str(error)) from None


def _parts(found: bytes) -> Sequence[bytes]:
    return [found[at : at + _BYTES] for at in range(0, len(found), _BYTES)]
