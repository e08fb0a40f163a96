"""What is measured for an operator, and that nothing is left of it."""

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.cli.runs import Run, created
from tests.databases import Database, SqliteDatabase
from tests.running_server import PROGRAM, SECONDS_TO_STOP, environment

pytestmark = pytest.mark.long

BRIEFLY = ("bench", "--seconds", "1")


@pytest.fixture(autouse=True)
def temporary(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for what is temporary."""
    str(database)  # whose server is started with this, and has its files elsewhere
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.usefixtures("ada")
def test_all_is_measured_and_nothing_is_left_of_it(run: Run, database: Database, kind: str, temporary: Path) -> None:
    created(run)
    run("keys", "revoke", created(run)["key_id"], "--yes")
    before, files = _contents(database), database.files()
    said = run(*BRIEFLY, "--users", "100", "--requests-per-user-and-minute", "6", "--json").json
    assert (_contents(database), database.files()) == (before, files)
    assert list(temporary.iterdir()) == []

    assert said["machine"]["cores"] >= 1
    assert said["database"] == {
        "kind": {"sqlite": "SQLite", "postgres": "PostgreSQL"}[kind],
        "where": str(database.setting),
        "prefixes_looked_up": 2,
    }
    costs = said["bcrypt"]["costs"]
    assert [each["cost"] for each in costs][:1] == [4]
    assert all(each["check_ms"] > 0 < each["checks_per_second"] for each in costs)
    assert said["bcrypt"]["configured_cost"] == 4
    assert said["bcrypt"]["recommended_cost"] >= 10
    verification = said["verification"]
    assert 0 < verification["look_up_us"]["median"] <= verification["look_up_us"]["p99"]
    assert 0 < verification["warm_us"]["median"] <= verification["warm_us"]["p99"]
    assert (verification["cold_ms"], verification["cold_was_measured"]) == (costs[0]["check_ms"], True)
    assert verification["users_at_once_seconds"] == pytest.approx(100 / costs[0]["checks_per_second"])
    worker = said["worker"]
    assert [each["protocol"] for each in worker["protocols"]] == ["2026-07-28", "2025-11-25"]
    for each in worker["protocols"]:
        assert each["users"] == int(each["requests_per_second"] * 10)
        assert 0 < each["milliseconds"]["median"] <= each["milliseconds"]["p99"]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_it_is_said_in_words_also_where_nobody_has_a_key(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "mcp-keys.toml"
    # Which a worker that is measured has to do without: nothing is delivered to files over HTTP, and it calls often.
    settings.write_text('secret_delivery = "file"\ncalls_per_minute = 1\n')
    done = run(*BRIEFLY, "--config", str(settings))
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^COST +ONE CHECK +ALL CORES\n4 +\S+ ms +\S+/s$", done.out, re.MULTILINE)
    assert re.search(r"^warm +\S+ µs, 99 % within \S+ µs$", done.out, re.MULTILINE)
    assert re.search(r"^look-up .*, of a key that is not there$", done.out, re.MULTILINE)
    assert re.search(r"^cold +\S+ ms at cost 4$", done.out, re.MULTILINE)
    assert len(re.findall(r"^20\S+ +\S+/s +\S+ ms +\S+ ms +[\d,]+$", done.out, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    "misuse",
    [("--seconds", "0"), ("--seconds", "601"), ("--requests-per-user-and-minute", "0"), ("--users", "0")],
)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_what_cannot_be_asked_for_is_refused(run: Run, misuse: tuple[str, str]) -> None:
    done = run("bench", *misuse)
    assert (done.code, done.out) == (2, "")
    assert misuse[0] in done.err


def test_a_database_that_is_not_there_is_not_made(run: Run, database: Database) -> None:
    done = run(*BRIEFLY)
    assert (done.code, done.out) == (1, "")
    assert not database.is_there()


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_an_older_schema_is_said_and_not_changed(run: Run, database: Database) -> None:
    database.sql("PRAGMA user_version = 2")
    done = run(*BRIEFLY)
    assert (done.code, done.out) == (1, "")
    assert "is of schema 2 and not of" in done.err
    assert database.sql("PRAGMA user_version") == [(2,)]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_without_a_place_for_what_is_temporary_it_says_so(run: Run, temporary: Path) -> None:
    temporary.rmdir()
    done = run(*BRIEFLY)
    assert (done.code, done.out) == (1, "")
    assert "set TMPDIR" in done.err


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("number", "seconds", "while_doing"),
    [(signal.SIGTERM, "600", "bcrypt, cost"), (signal.SIGINT, "5", "requests, MCP")],
)
def test_what_is_stopped_leaves_nothing(
    database: Database, temporary: Path, number: signal.Signals, seconds: str, while_doing: str
) -> None:
    before, files = _contents(database), database.files()
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a file that is open
        heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells start what they do not wait for
        process = subprocess.Popen(
            [*PROGRAM, "bench", "--database", str(database), "--seconds", seconds],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment(TMPDIR=str(temporary)),
        )
        signal.signal(signal.SIGINT, heeded)
        assert process.stdout is not None
        with process.stdout:
            os.close(theirs)
            shown = b""
            while while_doing.encode() not in shown:
                shown += terminal.read(1024)
            assert len(list(temporary.iterdir())) == 1
            process.send_signal(number)
            assert process.stdout.read() == b""
            assert process.wait(SECONDS_TO_STOP) == 130
            assert terminal.read(1_000_000).endswith(b"mcp-keys-server: interrupted\r\n")
    assert list(temporary.iterdir()) == []
    assert (_contents(database), database.files()) == (before, files)


def _contents(database: Database) -> bytes:
    """Without what SQLite keeps beside the file for whoever reads it."""
    return database.path.read_bytes() if isinstance(database, SqliteDatabase) else database.stored_bytes()
