"""Everything that changes something is done while the n-th call to the database fails, for every n.

``python -m tests.faults.failing_acts`` does it to every act in every way; the tests do it in fewer.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from mcp_keys_server import McpKeysError
from tests.databases import a_database, stop_servers
from tests.faults.acts import ACTS, Attempt, Prepare
from tests.faults.agreement import disagreements
from tests.faults.failing_calls import HOWS, Fault, How, calls_that_may_fail, failing
from tests.world import World, open_world


async def violations(world: World, prepare: Prepare, hows: Sequence[How], *, thorough: bool = True) -> list[str]:
    """What must not be, in words, after each call of this act has failed in each of these ways, once and from then on;
    or, which is quicker, in one of these ways after the other, and only the last one in all of them.
    """
    ways = [(how, lasts) for how in hows for lasts in (False, True)]
    found: list[str] = []
    for number in count(1):
        for how, lasts in (ways[number % len(ways) :] + ways)[: len(ways)]:
            fault = Fault(number, how, lasts)
            found += [f"{fault}: {what}" for what in await _try(world, await prepare(world), fault)]
            if not fault.struck:
                await world.ring.administration.verify_events()
                return found
            if not thorough and fault.struck[0] != "COMMIT":
                break
    raise AssertionError


async def _try(world: World, attempt: Attempt, fault: Fault) -> list[str]:
    found: list[str] = []
    error = await _error_of(attempt, fault)
    if error is not None and not isinstance(error, McpKeysError):
        found.append(f"it ended with a bare {error!r}")
    is_done = await attempt.is_done()
    if error is None and not is_done:
        found.append("it was confirmed and is not done")
    if error is not None and is_done and not fault.may_have_committed():
        found.append(f"it is said to have failed and is done: {error}")
    found += [f"half-way: {what}" for what in await disagreements(world.ring, attempt.users)]
    if not is_done:
        again = await _error_of(attempt)
        if again is not None:
            found.append(f"it cannot be done afterwards: {again!r}")
        elif not await attempt.is_done():
            found.append("afterwards it was confirmed and is not done")
        found += [f"afterwards: {what}" for what in await disagreements(world.ring, attempt.users)]
    return found


async def _error_of(attempt: Attempt, fault: Fault | None = None) -> BaseException | None:
    """In a task of its own, whose context nobody else has."""

    async def act() -> None:
        if fault is None:
            await attempt.act()
        else:
            with failing(fault):
                await attempt.act()

    (error,) = await asyncio.gather(act(), return_exceptions=True)
    return error


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.failing_acts", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=HOWS, help="Of database: sqlite or postgres.")
    found: list[str] = []
    for kind in parser.parse_args().kinds:
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory())
            database = stack.enter_context(a_database(kind, Path(folder) / "data"))
            stack.enter_context(calls_that_may_fail())
            world = await stack.enter_async_context(open_world(database))
            for name, prepare in ACTS.items():
                bad = [f"{kind}: {name}: {each}" for each in await violations(world, prepare, HOWS[kind])]
                sys.stdout.write("".join(f"{each}\n" for each in bad) or f"{kind}: {name}: well\n")
                found += bad
    stop_servers()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
