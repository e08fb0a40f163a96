"""Verification in this process: of keys that are proven, of one that is not, and of strings that never were keys."""

import asyncio
import hmac
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import cycle, islice

from mcp_keys_server import ApiKey, InvalidApiKeyError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.stores.sqlite.statements import READ_SECRET
from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.keys_at_hand import opened_ring
from tests.benchmarks.rounds import Contestant, Figures, always, run_rounds
from tests.benchmarks.stopwatch import bare_bcrypt, timed

_KEYS = 100
_AT_ONCE = 64
_BARE_BCRYPT = "one bare bcrypt.checkpw"


def warm(bench: Bench) -> Sequence[Row]:
    database = bench.folder / "keys.db"
    calls = bench.effort.calls
    # Hashed at the cheapest cost, because no bcrypt is left in a warm verification.
    with opened_ring(database, bcrypt_cost=CHEAPEST_COST) as opened:
        verifier = opened.ring.verifier
        checksum_secret = opened.ring.checksum_secrets.making
        keys = list(islice(cycle((key.reveal(), key.prefix) for key in opened.add_keys(_KEYS)), calls))

        async def verify() -> None:
            for presented, _ in keys:
                await verifier.verify(presented)

        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:

            def take_hmac_and_read() -> None:
                for presented, prefix in keys:
                    hmac.digest(checksum_secret, presented.encode("ascii"), "sha256")
                    connection.execute(READ_SECRET, (prefix,)).fetchall()

            contestants = {
                "ours": timed(lambda: opened.runner.run(verify()), calls=calls),
                "bare": timed(take_hmac_and_read, calls=calls),
                "bcrypt": bare_bcrypt(bench.effort.bcrypt_cost),
            }
            rounds = run_rounds("warm verification", bench, contestants)
    what = "warm verification, its live record read"
    bare = "one HMAC and one bare sqlite3 read of the same row"
    return [
        rounds.compare(what, Quantity.CALL, "ours", "bare", compared_with=bare, goal=goals.WARM_SQLITE),
        rounds.compare(what, Quantity.CALL, "ours", "bcrypt", compared_with=_BARE_BCRYPT),
    ]


def cold(bench: Bench) -> Sequence[Row]:
    database = bench.folder / "keys.db"
    cost = bench.effort.bcrypt_cost
    made_with = secrets.token_bytes(32)
    with opened_ring(database, bcrypt_cost=cost, proof_secret=made_with) as opened:
        restarted_key, cold_key = opened.add_keys(2)

    def first_uses(callers: int, key: ApiKey, proof_secret: bytes | None = None) -> Contestant:
        def verify() -> Figures:
            # Opened anew each time, off the clock, because nothing is remembered then, as in a new process; without the
            # secret of the proofs, under one of which nothing was written yet.
            with opened_ring(database, bcrypt_cost=cost, proof_secret=proof_secret or secrets.token_bytes(32)) as anew:
                return timed(lambda: anew.runner.run(all_at_once(anew.ring.verifier)), calls=1)()

        async def all_at_once(verifier: KeyVerifier) -> None:
            await asyncio.gather(*(verifier.verify(key.reveal()) for _ in range(callers)))

        return verify

    contestants = {
        "one": first_uses(1, cold_key),
        "many": first_uses(_AT_ONCE, cold_key),
        "restarted": first_uses(1, restarted_key, made_with),
        "bcrypt": bare_bcrypt(cost),
    }
    rounds = run_rounds("cold verification", bench, contestants)
    one, many = "the first use of a key whose proof is not kept", f"{_AT_ONCE} first uses of such a key at once"
    restarted = "the first use of a key after a restart, with its proof"
    return [
        rounds.compare(f"cold verification, {one}", Quantity.CALL, "one", "bcrypt", compared_with=_BARE_BCRYPT),
        rounds.compare(
            f"cold verification, {many}",
            Quantity.CALL,
            "many",
            "bcrypt",
            compared_with=_BARE_BCRYPT,
            goal=goals.FIRST_USES,
        ),
        rounds.compare(restarted, Quantity.CALL, "restarted", "bcrypt", compared_with=_BARE_BCRYPT),
    ]


def forged(bench: Bench) -> Sequence[Row]:
    calls = bench.effort.calls
    with opened_ring(bench.folder / "keys.db", bcrypt_cost=CHEAPEST_COST) as opened:
        (key,) = opened.add_keys(1)
        verifier = opened.ring.verifier
        # All that can be seen of a real key, and the rest guessed.
        seen, length = key.tag + key.prefix, len(key.reveal())
        forgeries = [(seen + secrets.token_urlsafe(length))[:length] for _ in range(_KEYS)]

        async def refuse() -> None:
            for presented in islice(cycle(forgeries), calls):
                try:
                    await verifier.verify(presented)
                except InvalidApiKeyError:
                    continue
                raise AssertionError("a forged key was let in")

        contestants = {
            "ours": timed(lambda: opened.runner.run(refuse()), calls=calls),
            "bcrypt": bare_bcrypt(bench.effort.bcrypt_cost),
            "microsecond": always({Quantity.CALL: 1.0}),
        }
        rounds = run_rounds("forged keys", bench, contestants)
    what = "forged key refused, without store and bcrypt"
    return [
        rounds.compare(what, Quantity.CALL, "ours", "microsecond", compared_with="one microsecond", goal=goals.FORGERY),
        rounds.compare(what, Quantity.CALL, "ours", "bcrypt", compared_with=_BARE_BCRYPT),
    ]
