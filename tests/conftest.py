"""What every test shares: one world with a clock to set, and a log that is searched for keys afterwards."""

import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, settings

from tests.databases import KINDS, Database, SqliteDatabase, a_database, stop_servers
from tests.world import World, open_world

# How long an example takes says something of the machine and of what else it does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

KEY = re.compile(r"[a-z][a-z0-9]{0,14}_[A-Za-z0-9_-]{51}|(?:mhu|fm)_[A-Za-z0-9_-]{43}")
"""Of ours, or of one of the systems whose keys are imported."""


EVERYDAY = {"auth", "cli", "core", "server", "stores"}
"""Folders of tests that are run all the time, without those on servers of databases, those of programs behind aliases,
and those that say they are long.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who changes something runs those that are not ``long``."""
    for item in items:
        folders = item.path.relative_to(Path(__file__).parent).parts
        if folders[0] not in EVERYDAY or "programs" in folders or "postgres" in item.nodeid or "redis" in item.nodeid:
            item.add_marker(pytest.mark.long)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_key_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING, "httpx2")  # the tests' own client, which logs the addresses that it is told
    caplog.set_level(logging.DEBUG)
    yield
    for phase in ("setup", "call", "teardown"):
        for record in caplog.get_records(phase):
            assert not KEY.search(record.getMessage()), f"{record.name} logged a key"


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of database; the test runs with each."""
    return str(request.param)


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[Database]:
    """An empty one."""
    with a_database(kind, tmp_path / "data") as empty:
        yield empty


@pytest.fixture
def sqlite_database(tmp_path: Path) -> SqliteDatabase:
    """For what is about SQLite alone."""
    return SqliteDatabase(tmp_path / "data" / "keys.db")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as opened:
        yield opened


@pytest.fixture
async def sqlite_world(sqlite_database: SqliteDatabase) -> AsyncIterator[World]:
    async with open_world(sqlite_database) as opened:
        yield opened


@pytest.fixture
def bcrypt_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each call of bcrypt from now on; the calls are the real ones."""
    calls: list[str] = []

    def count(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        return counted

    monkeypatch.setattr(bcrypt, "checkpw", count("checkpw", bcrypt.checkpw))
    monkeypatch.setattr(bcrypt, "hashpw", count("hashpw", bcrypt.hashpw))
    return calls


@pytest.fixture(autouse=True)
def _no_handler_is_left() -> Iterator[None]:
    """One that a command in this process has set up would write to what pytest has closed by then."""
    handlers = list(logging.root.handlers)
    yield
    for handler in set(logging.root.handlers).difference(handlers):
        logging.root.removeHandler(handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be missing, a skipped test is a failed run."""
    stop_servers()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # which several processes have together
    if reporter and os.environ.get("MCP_KEYS_TEST_NO_SKIPS") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
