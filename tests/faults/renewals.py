"""The cost of bcrypt raised and the checksum secret replaced, while users make, claim, use, rotate and revoke keys.

``python -m tests.faults.renewals --cost-before 10 --cost 12 --replacements 3`` does it as it is done in earnest; the
tests do it once, with the cheapest costs. Two servers have one database, each with two workers: what one of them has
made is used at whichever accepts the connection.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mcp_keys_server import KeyRing, open_key_ring
from tests.databases import SqliteDatabase
from tests.faults.history import History
from tests.faults.http_users import HttpUser, first_keys, key_from_operator
from tests.faults.judging import judge
from tests.faults.killed_server import UNLIMITED
from tests.faults.report import give, tell, tidied
from tests.running_server import PROGRAM, running_server

USERS: Final = 8
SERVERS: Final = 2
NEW_KEYS: Final = 16
"""Of the operator, after each replacement."""
SECONDS_TO_GO_ON: Final = 300
"""On a machine that is busy with other things; else it hangs."""


@dataclass
class Outcome:
    history: History = field(default_factory=History)
    replaced: int = 0
    cheap_hashes: int = 0
    """Of the first keys, in the end."""
    crashes: list[str] = field(default_factory=list)
    """Lines of the logs."""

    def complaints(self) -> list[str]:
        refused = [f"{len(self.history.refused_before_end)} good keys were refused"]
        found = [*sorted(self.history.failures), *sorted(self.history.unanswered), *self.crashes]
        return found + refused if self.history.refused_before_end else found


async def run(
    database: Path, *, cost_before: int, cost: int, replacements: int, program: Sequence[str] = PROGRAM
) -> Outcome:
    """Each time, every key of before is made anew, and the secret forgotten."""
    outcome = Outcome()
    keys = await first_keys(database, USERS, outcome.history, bcrypt_cost=cost_before)
    file = SqliteDatabase(database)
    settings = UNLIMITED | {"MCP_KEYS_BCRYPT_COST": f"{cost}"}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(file, "--workers", "2", program=program, **settings))
            for _ in range(SERVERS)
        ]
        ports = cycle(urlsplit(server.base_url).port or 0 for server in servers)
        async with asyncio.TaskGroup() as group, open_key_ring(database, bcrypt_cost=cost) as operator:
            users = [HttpUser(user_id, key, lambda: next(ports), outcome.history) for user_id, key in keys.items()]
            living = [group.create_task(user.live()) for user in users]
            async with asyncio.timeout(SECONDS_TO_GO_ON * (replacements + 1)):
                while _cheap(file, cost_before):
                    await asyncio.sleep(0.05)
                for outcome.replaced in range(1, replacements + 1):
                    await operator.administration.replace_checksum_secret()
                    await _use_new_keys(operator, outcome.history, ports)
                    await _forget(operator, outcome)
            for task in living:
                task.cancel()
        outcome.cheap_hashes = _cheap(file, cost_before)
        outcome.crashes = [line for it in servers for line in it.log.read_text().splitlines() if "crashed" in line]
    return outcome


async def _use_new_keys(operator: KeyRing, history: History, ports: Iterator[int]) -> None:
    """Made with a secret that no server has made a key with yet, and used at once."""
    for port in islice(ports, NEW_KEYS):
        await operator.checksum_secrets.look()
        key = await key_from_operator(operator, "user0", history)
        await HttpUser("user0", key, partial(int, port), history).use_first_key()
        history.perhaps_revoked.add(history.handed_over[key])
        await operator.administration.revoke_key(history.handed_over[key], reason=None)
        history.revoked.add(history.handed_over[key])


async def _forget(operator: KeyRing, outcome: Outcome) -> None:
    """As soon as no key needs the one before, which comes by itself: users put other keys in the place of theirs."""
    while not outcome.complaints() and await operator.administration.forget_checksum_secrets():
        tell(f"{outcome.replaced} replaced, {outcome.history.acknowledged} acknowledged")
        await asyncio.sleep(0.2)


def _cheap(file: SqliteDatabase, cost_before: int) -> int:
    """How many keys that may be used have a hash of the cost before."""
    statement = f"""
    SELECT count(*) FROM secrets JOIN keys ON keys.key_id = secrets.key_id
    WHERE revoked_at IS NULL AND ends_at IS NULL AND key_hash LIKE '$2b${cost_before:02d}$%'
    """
    ((count,),) = file.sql(statement)
    return int(count)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.renewals", description=__doc__)
    parser.add_argument("--cost-before", type=int, default=10)
    parser.add_argument("--cost", type=int, default=12)
    parser.add_argument("--replacements", type=int, default=3)
    parser.add_argument("--out", type=Path, help="A file for what was found.")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="renewals-"))
    database = folder / "data" / "keys.db"
    outcome = await run(database, cost_before=asked.cost_before, cost=asked.cost, replacements=asked.replacements)
    verdict, complaints = await judge(database, outcome.history), outcome.complaints()
    found = {"replaced": outcome.replaced, "cheap_hashes": outcome.cheap_hashes, "complaints": complaints}
    give(found | asdict(verdict), asked.out)
    return tidied(folder, outcome.history, is_bad=bool(complaints or verdict.wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
