"""The n-th call to the database fails: once or from then on, without having been made, after it was made, or with its
connection.

``python -m tests.faults.failing_calls`` does it to every act in every way; the tests do it in fewer. Only what runs in
the context in which a fault was set meets it: neither the bookkeeping beside it nor whoever judges.
"""

import argparse
import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import aiosqlite
import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement

from mcp_keys_server import McpKeysError
from mcp_keys_server.stores.sqlite.opened_file import OpenedFile
from tests.databases import a_database, stop_servers
from tests.faults.acts import ACTS, Attempt, Prepare
from tests.faults.agreement import disagreements
from tests.world import World, open_world

Result = TypeVar("Result")
Call = Callable[[], Awaitable[Result]]


class How(StrEnum):
    """A call fails."""

    NOT_MADE = "not made"
    MADE = "made, its answer lost"
    LOST = "made, its connection lost"


HOWS: Final[dict[str, Sequence[How]]] = {"sqlite": (How.NOT_MADE, How.MADE), "postgres": tuple(How)}


@dataclass
class Fault:
    """What is called in its context is counted; from the number on, which begins at 1, one call fails or all do."""

    number: int
    how: How
    lasts: bool = False
    calls: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    struck_last: bool = False
    """Whether the latest call failed."""

    def strikes(self, what: str) -> bool:
        self.calls.append(" ".join(what.split())[:60])
        self.struck_last = len(self.calls) == self.number or (self.lasts and len(self.calls) > self.number)
        if self.struck_last:
            self.struck.append(self.calls[-1])
        return self.struck_last

    def may_have_committed(self) -> bool:
        return self.how is not How.NOT_MADE and "COMMIT" in self.struck

    def __str__(self) -> str:
        calls = "all calls from" if self.lasts else "call"
        return f"{calls} {self.number} ({self.struck[0] if self.struck else 'none'}) {self.how}"


_FAULT: Final[ContextVar[Fault | None]] = ContextVar("fault", default=None)


@contextmanager
def failing(fault: Fault) -> Iterator[Fault]:
    outer = _FAULT.set(fault)
    try:
        yield fault
    finally:
        _FAULT.reset(outer)


@contextmanager
def calls_that_may_fail() -> Iterator[None]:
    """While the drivers are as they are met by a fault. Whatever is to fail has to be opened within it."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("execute", "execute_fetchall", "executemany", "rollback"):
            patched.setattr(aiosqlite.Connection, name, _of_sqlite(getattr(aiosqlite.Connection, name), name))
        for name in ("check", "check_beside"):
            patched.setattr(OpenedFile, name, _look(getattr(OpenedFile, name)))
        patched.setattr(sqlite3, "connect", _with_failing_reads(sqlite3.connect))
        for name in ("execute", "fetch", "fetchval", "prepare"):
            patched.setattr(asyncpg.Connection, name, _of_postgres(getattr(asyncpg.Connection, name), name))
        patched.setattr(PreparedStatement, "fetch", _of_postgres(PreparedStatement.fetch, "look-up"))
        patched.setattr(asyncpg, "connect", _of_postgres(asyncpg.connect, "connect"))
        yield


def _of_sqlite(real: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
    async def call(connection: aiosqlite.Connection, *arguments: object) -> object:
        fault = _FAULT.get()
        if fault is None or not fault.strikes(_what(name, arguments)):
            return await real(connection, *arguments)
        if fault.how is not How.NOT_MADE:
            await real(connection, *arguments)
        raise sqlite3.OperationalError("disk I/O error")

    return call


def _look(real: Callable[..., None]) -> Callable[..., None]:
    def check(file: OpenedFile, *arguments: object) -> None:
        fault = _FAULT.get()
        if fault is not None and fault.strikes("stat"):
            raise OSError("Input/output error")
        real(file, *arguments)

    return check


class _FailingReads(sqlite3.Connection):
    """The connection on the event loop's own thread; in the threads of the others there is no fault."""

    def execute(self, statement: str, *arguments: Any, **_: object) -> sqlite3.Cursor:  # noqa: ANN401 - the driver's
        fault = _FAULT.get()
        if fault is not None and fault.strikes(statement):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *arguments)


def _with_failing_reads(real: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    def connect(*arguments: object, **named: object) -> sqlite3.Connection:
        return real(*arguments, **{"factory": _FailingReads, **named})

    return connect


def _of_postgres(real: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
    async def call(*arguments: object, **named: object) -> object:
        fault = _FAULT.get()
        if fault is None or not fault.strikes(_what(name, arguments[1:])):
            return await real(*arguments, **named)
        if fault.how is How.NOT_MADE:
            raise asyncpg.DiskFullError("could not extend file")
        made = await real(*arguments, **named)
        if fault.how is How.MADE:
            raise TimeoutError
        for it in (*arguments[:1], made):
            connection = getattr(it, "_connection", it)  # of a statement
            if isinstance(connection, asyncpg.Connection):
                connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    return call


def _what(name: str, arguments: Sequence[object]) -> str:
    return arguments[0] if arguments and isinstance(arguments[0], str) and name not in ("connect", "look-up") else name


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
    parser = argparse.ArgumentParser(prog="python -m tests.faults.failing_calls", description=__doc__)
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
