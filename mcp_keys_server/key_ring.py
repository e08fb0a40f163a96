"""A database opened, with everything that stands on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike

import anyio.to_thread

from mcp_keys_server.auth.open_responses import OpenResponses
from mcp_keys_server.core.administration import Administration
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.counters import Counters, SharedCounters
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.invitations import INVITATION_LIFE, Invitations
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_manager import CLAIM_LIFE, KeyManager
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.sessions import Sessions
from mcp_keys_server.core.tool_pins import ToolPins
from mcp_keys_server.core.usage import UsageLog
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.core.write_behind import keep_writing
from mcp_keys_server.stores.opening import DEFAULT_CONNECTIONS, Database, open_database
from mcp_keys_server.stores.proof_secret import given_secret, secret_beside


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All that can be done with the keys of one database."""

    store: KeyStore
    verifier: KeyVerifier
    manager: KeyManager
    administration: Administration
    invitations: Invitations
    sessions: Sessions
    open_responses: OpenResponses
    """What the guards of this process are answering."""
    counters: Counters
    """Of what throttles count, together with all other processes."""
    tool_pins: ToolPins
    checksum_secrets: ChecksumSecrets


@asynccontextmanager
async def open_key_ring(  # noqa: PLR0913 - each is a setting of its own, given by name
    database: Database,
    *,
    create: bool = True,
    connections: int = DEFAULT_CONNECTIONS,
    key_tag: str = "mhu_",
    bcrypt_cost: int = 12,
    policy: KeyPolicy = NO_LIMITS,
    claim_life: timedelta = CLAIM_LIFE,
    invitation_life: timedelta = INVITATION_LIFE,
    proof_secret: bytes | str | PathLike[str] | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[KeyRing]:
    """Open the database, which is made if there is none, and close it with all that was waiting to be written.

    It is the path of an SQLite file, which any number of processes of one machine may have open, or a PostgreSQL URL,
    for any number of machines; of that one, this process has at most so many connections, and one more for look-ups.

    With the proof secret, 32 random bytes or a file that holds their 64 hexadecimal digits, bcrypt runs once for a key
    and not once in each process. Beside an SQLite file, there is one unless another is given.

    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
        InvalidFieldError: The URL or the proof secret is none, or the tag or the cost is out of its range.
    """
    given = None if proof_secret is None else given_secret(proof_secret)
    with closing(KeyHasher(cost=bcrypt_cost)) as hasher:
        async with open_database(database, create=create, connections=connections) as opened:
            store = opened.store
            checksum_secrets = ChecksumSecrets(opened.checksum_secrets.found, opened.checksum_secrets.read)
            mint = KeyMint(checksum_secrets, tag=key_tag)
            secret = given
            if secret is None and opened.path is not None:
                secret = await anyio.to_thread.run_sync(secret_beside, opened.path)
            proofs = Proofs(secret, store.record_proofs)
            issuer = KeyIssuer(store, mint, hasher, proofs)
            usage = UsageLog(store.record_use)
            verifier = KeyVerifier(store, mint, hasher, usage, proofs, clock=clock)
            open_responses = OpenResponses(verifier)
            opened.watch_changes(open_responses)
            counters = SharedCounters(opened.counters, clock=clock)
            noted = (usage.write, proofs.write)
            kept = (checksum_secrets.keep_looking(), open_responses.keep_looking(), counters.keep_sharing())
            tasks = [asyncio.create_task(each) for each in (*map(keep_writing, noted), *kept)]
            try:
                yield KeyRing(
                    store=store,
                    verifier=verifier,
                    manager=KeyManager(store, issuer, counters, policy=policy, claim_life=claim_life, clock=clock),
                    administration=Administration(store, issuer, opened.checksum_secrets, policy=policy, clock=clock),
                    invitations=Invitations(store, issuer, policy=policy, invitation_life=invitation_life, clock=clock),
                    sessions=Sessions(opened.sessions, clock=clock),
                    open_responses=open_responses,
                    counters=counters,
                    tool_pins=opened.tool_pins,
                    checksum_secrets=checksum_secrets,
                )
            finally:
                for task in tasks:
                    task.cancel()
                await checksum_secrets.close()
                for write in noted:
                    with suppress(StoreUnavailableError):  # whoever needs the store has met the trouble already
                        await write()
