"""The ledger on the command line."""

import re
import stat
from pathlib import Path

import pytest

from mcp_keys_server.core.ledger import BEGINNING, Head
from tests.cli.runs import Run, created
from tests.databases import Database
from tests.mints import mint_of

pytestmark = pytest.mark.usefixtures("ada")

HEAD = re.compile(r"[0-9]+:[0-9a-f]{64}\n")


def test_what_was_done_is_listed_the_newest_first(run: Run) -> None:
    run("users", "add", "bob")
    key_id = created(run)["key_id"]
    run("keys", "revoke", key_id, "--reason", "lost")
    entries = run("events", "list", "--json").json
    assert [(entry["number"], entry["kind"], entry["user_id"]) for entry in entries] == [
        (4, "key_revoked", "ada"),
        (3, "key_created", "ada"),
        (2, "user_added", "bob"),
        (1, "user_added", "ada"),
    ]
    assert (entries[0]["key_id"], entries[0]["by"], entries[0]["detail"]) == (key_id, "operator", "lost")
    assert entries[0]["at"].endswith("Z")
    assert [entry["number"] for entry in run("events", "list", "--user", "ada@example.com", "--json").json] == [4, 3, 1]
    table = run("events", "list", "--limit", "1").out.splitlines()
    assert table[0].split() == ["NUMBER", "AT", "KIND", "USER_ID", "KEY_ID", "BY", "BY_KEY_ID", "CLIENT", "DETAIL"]
    assert len(table) == 2
    assert run("events", "list", "--user", "eve").code == 1


def test_a_user_without_events_has_none(run: Run, database: Database) -> None:
    database.tamper("DELETE FROM events")
    assert run("events", "list").out == "Nothing has been done yet.\n"
    assert run("events", "head").out == f"{BEGINNING}\n"


def test_the_head_is_what_verifying_gives_and_takes(run: Run) -> None:
    head = run("events", "head").out
    assert HEAD.fullmatch(head)
    assert run("events", "verify").out == head
    created(run)
    later = run("events", "verify", "--head", head)
    assert (later.code, later.out) == (0, run("events", "head").out)
    assert later.out != head


def test_a_head_is_kept_in_a_private_file(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "head"
    assert run("events", "verify", "--head-file", str(kept)).code == 0
    assert kept.read_text() == run("events", "head").out
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    created(run)
    assert run("events", "verify", "--head-file", str(kept)).code == 0
    assert kept.read_text() == run("events", "head").out
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == ["head"]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE events SET detail = 'x' WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM events WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM events WHERE number > 1", "it ends with entry 1, and entry 3 was there before"),
    ],
)
def test_a_ledger_that_was_changed_is_a_sentence_and_leaves_the_kept_head(
    run: Run, database: Database, tmp_path: Path, statement: str, sentence: str
) -> None:
    created(run)
    created(run)
    kept = tmp_path / "head"
    head = run("events", "verify", "--head-file", str(kept)).out
    database.tamper(statement)
    for option in (["--head", head], ["--head-file", str(kept)]):
        done = run("events", "verify", *option)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert f"the ledger is broken: {sentence}" in done.err
    assert kept.read_text() == head


@pytest.mark.parametrize("column", ["kind", "at"])
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_an_entry_that_was_changed_into_none_is_named_too(run: Run, database: Database, column: str) -> None:
    created(run)
    database.tamper(f"UPDATE events SET {column} = 'x' WHERE number = 2")
    for command, sentence in (("verify", "the ledger is broken: entry 2 was changed"), ("list", "the SQLite database")):
        done = run("events", command)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert sentence in done.err


def test_a_ledger_that_was_written_anew_is_not_the_one_that_was_kept(run: Run) -> None:
    done = run("events", "verify", "--head", f"1:{'0' * 64}")
    assert (done.code, done.out) == (1, "")
    assert "entry 1 is not the one that was there" in done.err


NO_HEADS = [
    "",
    "x",
    "1",
    "1:",
    f"-1:{'0' * 64}",
    f"1:{'0' * 63}",
    f"1:{'0' * 65}",
    f"0:{'1' * 64}",
    f"{'9' * 19}:{'0' * 64}",
]


@pytest.mark.parametrize("text", [*NO_HEADS, f"{'9' * 5000}:{'0' * 64}", "é", "\0"])
def test_what_is_no_head_is_refused_wherever_it_stands(run: Run, tmp_path: Path, text: str) -> None:
    kept = tmp_path / "head"
    kept.write_text(text)
    for option, field in ((["--head", text], "head"), (["--head-file", str(kept)], "head_file")):
        done = run("events", "verify", *option)
        assert (done.code, done.out) == (2, "")
        assert f"{field}: a number, ':' and 64 hexadecimal digits" in done.err
    assert kept.read_text() == text


def test_a_head_is_one_and_the_same_as_text() -> None:
    for head in (BEGINNING, Head(10**17, bytes(range(32)))):
        assert Head.parse(f" {head}\n") == head


def test_a_file_that_cannot_be_read_or_written_is_a_sentence(run: Run, tmp_path: Path) -> None:
    for path, sentence in (
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(tmp_path / "nowhere" / "head"), "cannot be written: No such file"),
        (str(tmp_path / ("x" * 250)), "cannot be written: File name too long"),
    ):
        done = run("events", "verify", "--head-file", path)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert f"--head-file: {path}" in done.err
        assert sentence in done.err


def test_what_cannot_take_the_place_of_the_file_leaves_nothing_behind(tmp_path: Path) -> None:
    from mcp_keys_server.cli.head_file import write_head
    from mcp_keys_server.settings import SettingsError

    (tmp_path / "head").mkdir()
    with pytest.raises(SettingsError, match="cannot be written: Is a directory"):
        write_head(tmp_path / "head", str(BEGINNING))
    assert {path.name for path in tmp_path.iterdir()} == {"head", "data"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list", "--limit", "0"], "--limit"),
        (["list", "--limit", "9" * 30], "--limit"),
        (["list", "--user", "A B"], "user: "),
        (["verify", "--head", f"0:{'0' * 64}", "--head-file", "x"], "either --head or --head-file"),
    ],
    ids=["none", "too many", "a user", "two heads"],
)
def test_what_is_misused_ends_with_2_and_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    done = run("events", *arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


@pytest.mark.parametrize("arguments", [["list", "--user"], ["list", "--limit"], ["verify", "--head"]], ids=" ".join)
def test_a_key_where_none_belongs_is_never_echoed(run: Run, arguments: list[str]) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run("events", *arguments, key)
    assert done.code == 2
    assert key[12:] not in done.out + done.err


def test_a_user_is_disabled_and_enabled_and_both_are_events(run: Run) -> None:
    key = created(run)["key"]
    assert run("users", "disable", "ada@example.com", "--json").json["disabled_at"] is not None
    refused = run("keys", "verify", stdin=key)
    assert (refused.code, refused.err) == (1, "mcp-keys-server: the API key is refused: its owner is disabled\n")
    assert "disabled_at  -" in run("users", "enable", "ada").out
    assert run("keys", "verify", stdin=key).code == 0
    kinds = [entry["kind"] for entry in run("events", "list", "--limit", "2", "--json").json]
    assert kinds == ["user_enabled", "user_disabled"]
    for command in ("disable", "enable"):
        assert run("users", command, "eve").code == 1
        assert run("users", command, "A B").code == 2
