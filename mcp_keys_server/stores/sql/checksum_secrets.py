"""The secrets of the checksums of keys, kept in the database itself: without them, none of its keys is one.

They stand one after the other in an entry of ``meta``, the one that makes checksums first, and the one that is
announced in an entry of its own.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from mcp_keys_server.core.checksum_secret_store import MOST_NEEDS, MOST_SECRETS, NeedOfSecret
from mcp_keys_server.core.checksum_secrets import id_of
from mcp_keys_server.core.errors import (
    AnotherSecretAnnouncedError,
    ChecksumSecretReplacedError,
    StoreUnavailableError,
    TooManySecretsError,
    UnusableDatabaseError,
)
from mcp_keys_server.core.ledger import Event
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.changes import write_events
from mcp_keys_server.stores.sql.database import Row, SqlDatabase, Transaction

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
    if not parts or not all(map(_is_whole, parts)):
        raise UnusableDatabaseError(f"{where} has lost its checksum secret; restore a backup")
    return parts


def check_announced_secret(found: bytes | None) -> None:
    """
    Raises:
        UnusableDatabaseError: One is announced, and is not as it was made.
    """
    if found and not all(map(_is_whole, _parts(found))):
        raise UnusableDatabaseError(
            "its next checksum secret is damaged; run: mcp-keys-server database replace-checksum-secret"
        )


def share_a_secret(one: bytes | None, other: bytes | None) -> bool:
    """Whether two databases have ever been the same: no other two have the same secret."""
    return not set(_parts(one or b"")).isdisjoint(_parts(other or b""))


class SqlChecksumSecrets:
    """Those of any database that understands the shared SQL."""

    def __init__(self, database: SqlDatabase, found: Sequence[bytes]) -> None:
        self._database = database
        self.found = found

    async def read(self) -> Sequence[bytes]:
        kept = _Kept.of(await self._database.read(tuple, sql.READ_TWO_OF_META, CHECKSUM_SECRET, ANNOUNCED_SECRET))
        return [*kept.in_use, *kept.announced]

    async def announce(self) -> bytes:
        secret = new_checksum_secret()

        async def work(transaction: Transaction) -> None:
            if len((await _held(transaction)).in_use) >= MOST_SECRETS:
                raise TooManySecretsError(MOST_SECRETS)
            await transaction.fetch(sql.PUT_META, ANNOUNCED_SECRET, secret)

        await self._database.write(work)
        return id_of(secret)

    async def use_announced(self, secret_id: bytes, event: Event) -> None:
        async def work(transaction: Transaction) -> None:
            kept = await _held(transaction)
            if secret_id not in map(id_of, kept.announced):
                raise AnotherSecretAnnouncedError
            await transaction.fetch(sql.PUT_META, CHECKSUM_SECRET, b"".join([*kept.announced, *kept.in_use]))
            await transaction.fetch(sql.PUT_META, ANNOUNCED_SECRET, b"")
            await write_events(transaction, [event])

        await self._database.write(work)

    async def forget(self, event: Event) -> Sequence[NeedOfSecret]:
        async def work(transaction: Transaction) -> bytes | None:
            """The id of the one that makes checksums, if it is not the only one that is left."""
            making, *others = (await _held(transaction)).in_use
            kept = [making]
            for number, secret in enumerate(others, 1):
                # Of keys that servers of a version that wrote no ids have made nobody knows more than that it is this.
                is_oldest = number == len(others)
                if await transaction.fetch(sql.IS_SECRET_NEEDED, id_of(secret), event.at, is_oldest):
                    kept.append(secret)
            if len(kept) <= len(others):
                await transaction.fetch(sql.PUT_META, CHECKSUM_SECRET, b"".join(kept))
                await write_events(transaction, [event])
            return id_of(making) if len(kept) > 1 else None

        making = await self._database.write(work)
        return [] if making is None else await self._needs(making, event.at)

    async def _needs(self, making: bytes, now: datetime) -> Sequence[NeedOfSecret]:
        """Beside whoever changes something meanwhile."""
        found: list[NeedOfSecret] = []
        for statement in (sql.NEEDS_UNTIL_ROTATED, sql.NEEDS_UNTIL_ENDED):
            most = MOST_NEEDS - len(found)
            found += await self._database.read(rows.need_of_secret, statement, making, now, most)
        return found


async def require_making(transaction: Transaction, made_with: set[bytes]) -> None:
    """See to it that the secret with which checksums are made has this id and no other, in a transaction that holds
    the ledger.

    Raises:
        ChecksumSecretReplacedError: It has another one.
    """
    if made_with != {id_of((await _kept(transaction)).in_use[0])}:
        raise ChecksumSecretReplacedError


@dataclass(frozen=True, slots=True)
class _Kept:
    in_use: Sequence[bytes] = field(repr=False)
    announced: Sequence[bytes] = field(repr=False)
    """One or none. One that is damaged has made nothing yet, and is none."""

    @classmethod
    def of(cls, entries: Iterable[Row]) -> Self:
        """
        Raises:
            StoreUnavailableError: There is none that is in use, or it is not as it was made.
        """
        found: dict[str, bytes] = dict(entries)
        try:
            in_use = whole_checksum_secrets("the database", found.get(CHECKSUM_SECRET))
        except UnusableDatabaseError as error:
            raise StoreUnavailableError(str(error)) from None
        announced = _parts(found.get(ANNOUNCED_SECRET, b""))
        return cls(in_use, [secret for secret in announced if _is_whole(secret)])


async def _held(transaction: Transaction) -> _Kept:
    """As they are to the end of the transaction: who changes them holds the ledger."""
    await transaction.hold_ledger()
    return await _kept(transaction)


async def _kept(transaction: Transaction) -> _Kept:
    return _Kept.of(await transaction.fetch(sql.READ_TWO_OF_META, CHECKSUM_SECRET, ANNOUNCED_SECRET))


def _is_whole(secret: bytes) -> bool:
    return secret == with_digest(secret[:_RANDOM_BYTES])


def _parts(found: bytes) -> Sequence[bytes]:
    return [found[at : at + _BYTES] for at in range(0, len(found), _BYTES)]
