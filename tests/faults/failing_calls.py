"""The n-th call to the database fails: once or from then on, without having been made, after it was made, or with its
connection.

Only what runs in the context in which a fault was set meets it: neither the bookkeeping beside it nor whoever judges.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

import aiosqlite
import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement

from mcp_keys_server.stores.postgres import connecting
from mcp_keys_server.stores.postgres import connections as postgres_connections
from mcp_keys_server.stores.sqlite import connections as sqlite_connections
from mcp_keys_server.stores.sqlite.opened_file import OpenedFile

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
def without_hurry() -> Iterator[None]:
    """What takes long on a machine that has much to do fails by nothing but a fault."""
    slowly = {"statement_timeout": "60s", "lock_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connecting, "_SETTINGS", connecting._SETTINGS | slowly)
        for module, name in (
            (connecting, "SECONDS_TO_CONNECT"),
            (connecting, "SECONDS_FOR_A_STATEMENT"),
            (postgres_connections, "SECONDS_TO_CONNECT"),
            (sqlite_connections, "SECONDS_TO_WAIT_FOR_A_WRITER"),
        ):
            patched.setattr(module, name, 60)
        yield


@contextmanager
def calls_that_may_fail() -> Iterator[None]:
    """While the drivers are as they are met by a fault. Whatever is to fail has to be opened within it."""
    with without_hurry(), pytest.MonkeyPatch.context() as patched:
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
