"""A database moved on the command line."""

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.runs import Run, created
from tests.databases import KINDS, Database, SqliteDatabase, a_database
from tests.mints import mint_of
from tests.running_server import PROGRAM, environment, running_server

pytestmark = pytest.mark.usefixtures("ada")


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with a_database(request.param, tmp_path / "target") as empty:
        yield empty


def test_a_server_goes_on_with_the_copy(run: Run, database: Database, target: Database) -> None:
    key = created(run)["key"]
    done = run("database", "copy", str(database), str(target))
    assert (done.code, done.err) == (0, "")
    assert "keys            1\n" in done.out
    assert run("events", "head").out in done.out
    assert f"Start your servers with it: --database {target.setting}\n" in done.out
    with running_server(target):
        assert run("keys", "verify", "--database", str(target), stdin=key).code == 0
    copied = run("database", "copy", str(database), str(target), "--json")
    assert copied.code == 1, "the server has noted its address"
    assert "has changed since (" in copied.err


def test_one_that_is_there_already_is_only_compared(run: Run, database: Database, target: Database) -> None:
    first = run("database", "copy", str(database), str(target), "--json").json
    assert first == {
        "users": 1,
        "keys": 0,
        "makers of keys": 0,
        "secrets": 0,
        "claims": 0,
        "sessions": 0,
        "tool_pins": 0,
        "events": 1,
        "head": run("events", "head").out.strip(),
        "was_there": False,
    }
    assert run("database", "copy", str(database), str(target), "--json").json == first | {"was_there": True}
    assert "was there already, and is like its source" in run("database", "copy", str(database), str(target)).out


def test_a_terminal_shows_how_far_it_is(database: Database, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "database", "copy", str(database), str(tmp_path / "target" / "keys.db")]
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=False, env=environment(TERM="xterm"))
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "Copying" in shown
    assert "100%" in shown


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (("", "x.db"), (2, "database (or MCP_KEYS_DATABASE): the path of a file, or a URL")),
        (("OURS", "postgresql://h/d?schema=A"), (2, "its schema: a lower-case name")),
        (("nowhere.db", "x.db"), (1, "does not exist")),
        (("nowhere.db", "OURS"), (1, "nowhere.db does not exist")),
        (("OURS", "OURS"), (1, "cannot be copied into itself")),
        (("OURS", "postgresql://nobody@127.0.0.1:9/x"), (1, "cannot be used: ")),
        (("postgresql://nobody:passw0rd@127.0.0.1:9/x", "x.db"), (1, "cannot be used: ")),
    ],
    ids=["no source", "no target", "not there", "only the target", "itself", "no answer", "no answer of the source"],
)
def test_what_cannot_be_copied_is_a_sentence(
    run: Run, database: Database, tmp_path: Path, places: tuple[str, str], said: tuple[int, str]
) -> None:
    code, sentence = said
    known = {"OURS": str(database), "x.db": str(tmp_path / "x.db"), "nowhere.db": str(tmp_path / "nowhere.db")}
    done = run("database", "copy", *(known.get(place, place) for place in places))
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert sentence in done.err
    assert "passw0rd" not in done.err
    assert not (tmp_path / "x.db").exists()


def test_a_target_of_another_program_is_left_alone(run: Run, database: Database, tmp_path: Path) -> None:
    other = SqliteDatabase(tmp_path / "recipes.db")
    other.sql("CREATE TABLE recipes (name TEXT)")
    other.path.chmod(0o600)
    before = other.stored_bytes()
    done = run("database", "copy", str(database), str(other))
    assert (done.code, done.out) == (1, "")
    assert "is a database of another program" in done.err
    assert other.stored_bytes() == before


def test_a_key_in_the_place_of_a_database_is_never_echoed(run: Run, database: Database) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run("database", "copy", key, str(database))
    assert done.code == 1
    assert key[12:] not in done.out + done.err


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "list", "--database", "postgresql://h/d"],
        ["database", "check", "--database", "postgresql://h/d"],
        ["database", "migrate", "--create", "--database", "postgresql://h/d"],
        ["database", "copy", "postgresql://h/d", "x.db"],
        ["database", "copy", "OURS", "postgresql://h/d"],
    ],
    ids=["users", "check", "migrate", "source", "target"],
)
def test_without_the_driver_of_postgresql_it_is_said_how_to_get_it(database: Database, arguments: list[str]) -> None:
    code = "import sys; sys.modules['asyncpg'] = None; from mcp_keys_server.cli.program import main; sys.exit(main())"
    command = [PROGRAM[0], "-c", code, *(str(database) if argument == "OURS" else argument for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"run: {PROGRAM[0]} -m pip install 'mcp-keys-server[postgres]'" in done.stderr
