"""Keys ended on the command line, one by its id or all that fit."""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from mcp_keys_server import open_key_ring
from mcp_keys_server.cli.key_filters import parse_when
from mcp_keys_server.cli.program import main
from mcp_keys_server.core.errors import InvalidFieldError
from tests.cli.runs import Run, created, listed
from tests.databases import Database
from tests.mints import mint_of
from tests.world import NOTHING_SPECIAL

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("ada")


class Terminal(io.StringIO):
    """Somebody who answers; something may happen before they do."""

    def __init__(self, answer: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__(answer)
        self._meanwhile = meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override] # as that of StringIO, which overrides it too
        self._meanwhile()
        return super().readline(size)


def statuses(run: Run) -> dict[str, str]:
    return {key["key_id"]: key["status"] for key in run("keys", "list", "--all", "--json").json}


def made_by(run: Run, database: Database, maker: str) -> str:
    """The key id of a key that this one makes."""
    before = set(listed(run))

    async def make() -> None:
        async with open_key_ring(str(database), bcrypt_cost=4) as ring:
            principal = await ring.verifier.verify(maker)
            await ring.manager.create_key(principal, name="Made", requested=NOTHING_SPECIAL)

    anyio.run(make)
    (key_id,) = set(listed(run)) - before
    return key_id


def test_each_filter_finds_its_keys_and_all_together_what_fits_all(run: Run) -> None:
    run("users", "add", "bob")
    adas = created(run, "--expires-in-days", "5")
    bobs = run("keys", "create", "--user", "bob", "--name", "x", "--json").json
    prefix = bobs["key"][4:12]
    assert listed(run, "--user", "ada@example.com") == [adas["key_id"]]
    assert listed(run, "--prefix", prefix[:6]) == [bobs["key_id"]]
    assert listed(run, "--expiring-within", "6") == [adas["key_id"]]
    assert listed(run, "--expiring-within", "4") == []
    assert listed(run, "--last-used-before", "1d") == []
    assert len(listed(run, "--last-used-before", "0d")) == 2
    assert listed(run, "--created-by", adas["key_id"]) == []
    assert listed(run, "--user", "ada", "--prefix", prefix) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("2026-05-31", datetime(2026, 5, 31, tzinfo=UTC)),
        ("2026-05-31T12:30", datetime(2026, 5, 31, 12, 30, tzinfo=UTC)),
        ("2026-05-31T12:30+02:00", datetime(2026, 5, 31, 10, 30, tzinfo=UTC)),
        ("0001-01-01T00:00+14:00", datetime.fromisoformat("0001-01-01T00:00+14:00")),
    ],
)
def test_a_moment_is_a_date_a_time_or_days_ago(text: str, moment: datetime) -> None:
    assert parse_when(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "99999d", "٣d", "2026-13-01", "2026-11-22", "9999-12-31", "now"]
)
def test_what_is_no_moment_in_the_past_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="^last_used_before: a date that has been"):
        parse_when(text, NOW)


def test_keys_that_fit_are_ended_with_yes_and_without_a_question(run: Run) -> None:
    first, second = created(run)["key_id"], created(run, "--expires-in-days", "1")["key_id"]
    done = run("keys", "revoke", "--expiring-within", "2", "--reason", "tidy", "--yes", "--json")
    assert [(key["key_id"], key["status"], key["revoked_reason"]) for key in done.json] == [(second, "revoked", "tidy")]
    disabled = run("keys", "disable", "--user", "ada", "--yes")
    assert (disabled.code, disabled.err) == (0, "")
    assert disabled.out.splitlines()[1].startswith(first)
    assert statuses(run) == {first: "disabled", second: "revoked"}
    assert run("keys", "disable", "--user", "ada", "--yes").out == "No key was ended.\n"
    assert run("keys", "disable", "--user", "ada", "--yes", "--json").json == []


@pytest.mark.parametrize("command", ["revoke", "disable"])
@pytest.mark.parametrize("stdin", ["y\n", None], ids=["not a terminal", "closed"])
def test_without_a_terminal_and_without_yes_nothing_is_changed(run: Run, command: str, stdin: str | None) -> None:
    key_id = created(run)["key_id"]
    if stdin is None:
        with pytest.MonkeyPatch.context() as without_input:
            without_input.setattr(sys, "stdin", None)
            assert main(["keys", command, "--user", "ada"]) == 2
    else:
        done = run("keys", command, "--user", "ada", stdin=stdin)
        assert (done.code, done.out) == (2, "")
        assert "--yes does it without asking" in done.err
    assert statuses(run) == {key_id: "active"}


def test_on_a_terminal_they_are_shown_and_ended_when_that_is_confirmed(run: Run) -> None:
    key_id = created(run)["key_id"]
    refused = run("keys", "revoke", "--user", "ada", stdin=Terminal("n\n"))
    assert (refused.code, refused.out) == (1, "")
    assert key_id in refused.err
    assert "These keys will be revoked, 1 in all. Go on? [y/N]: " in refused.err
    assert refused.err.endswith("Nothing was changed.\n")
    assert run("keys", "revoke", "--user", "ada", stdin=Terminal("")).code == 130
    assert statuses(run) == {key_id: "active"}
    done = run("keys", "revoke", "--user", "ada", "--json", stdin=Terminal("y\n"))
    assert [key["key_id"] for key in done.json] == [key_id]
    assert statuses(run) == {key_id: "revoked"}


def test_where_nothing_fits_nobody_is_asked(run: Run) -> None:
    done = run("keys", "revoke", "--user", "ada", stdin=Terminal(""))
    assert (done.code, done.out, done.err) == (0, "No key was ended.\n", "")


@pytest.mark.parametrize(("command", "status"), [("revoke", "revoked"), ("disable", "disabled")])
def test_exactly_those_that_were_shown_are_ended(run: Run, command: str, status: str) -> None:
    shown, revoked_meanwhile = created(run)["key_id"], created(run)["key_id"]

    def meanwhile() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["keys", "revoke", revoked_meanwhile, "--reason", "lost"]) == 0
            assert main(["keys", "create", "--user", "ada", "--name", "New"]) == 0

    done = run("keys", command, "--user", "ada", "--json", stdin=Terminal("y\n", meanwhile))
    assert [(key["key_id"], key["status"]) for key in done.json] == [(shown, status)]
    after = statuses(run)
    assert (after.pop(shown), after.pop(revoked_meanwhile)) == (status, "revoked")
    assert list(after.values()) == ["active"]


def test_what_was_ended_before_there_was_trouble_is_printed_all_the_same(run: Run, database: Database) -> None:
    key_ids = [created(run)["key_id"] for _ in "ab"]
    revoked = "EXISTS (SELECT 1 FROM keys WHERE revoked_at IS NOT NULL)"
    database.refuse("UPDATE", "keys", saying="the disk is on fire", condition=revoked)
    done = run("keys", "revoke", "--user", "ada", "--yes", "--json")
    assert (done.code, done.err.count("the disk is on fire")) == (1, 1)
    (ended,) = json.loads(done.out)
    assert sorted(statuses(run).values()) == ["active", "revoked"]
    assert statuses(run)[ended["key_id"]] == "revoked"
    assert ended["key_id"] in key_ids


def test_cascade_shows_and_ends_what_the_keys_made_as_well(run: Run, database: Database) -> None:
    first = created(run)
    made = made_by(run, database, first["key"])
    other = created(run)["key_id"]
    refused = run("keys", "revoke", "--prefix", first["key"][4:12], "--cascade", stdin=Terminal("n\n"))
    assert "2 in all" in refused.err
    assert made in refused.err
    done = run("keys", "revoke", "--prefix", first["key"][4:12], "--cascade", "--yes", "--json")
    assert [key["key_id"] for key in done.json] == [made, first["key_id"]]
    assert listed(run) == [other]


def test_one_key_is_revoked_with_what_it_made(run: Run, database: Database) -> None:
    first = created(run)
    made = made_by(run, database, first["key"])
    assert run("keys", "revoke", first["key_id"]).code == 0
    assert listed(run) == listed(run, "--created-by", first["key_id"]) == [made]
    done = run("keys", "revoke", first["key_id"], "--cascade", "--reason", "stolen")
    assert (done.code, done.out.count("key_"), made in done.out) == (0, 1, True)
    assert listed(run) == []
    unknown = run("keys", "revoke", "key_0123456789abcdef", "--cascade")
    assert (unknown.code, "no key has this id" in unknown.err) == (1, True)


@pytest.mark.parametrize("command", ["revoke", "disable"])
@pytest.mark.parametrize("arguments", [[], ["--yes"], ["key_0123456789abcdef", "--user", "ada"]], ids=" ".join)
def test_either_a_key_id_or_filters_say_which_keys(run: Run, command: str, arguments: list[str]) -> None:
    created(run)
    done = run("keys", command, *arguments)
    assert (done.code, done.out) == (2, "")
    assert "either a KEY_ID or at least one filter" in done.err
    assert len(listed(run)) == 1


BAD: dict[str, tuple[list[str], str]] = {
    "no prefix": (["--prefix", ""], "prefix: "),
    "a prefix too long": (["--prefix", "abcdefghi"], "prefix: "),
    "a maker": (["--created-by", "Laptop"], "key_id: "),
    "days of words": (["--expiring-within", "z"], "--expiring-within"),
    "no days": (["--expiring-within", "0"], "expiring_within: "),
    "days that are no number": (["--expiring-within", "nan"], "expiring_within: "),
    "a user": (["--user", "A B"], "user: "),
    "a moment": (["--last-used-before", "soon"], "last_used_before: "),
}


@pytest.mark.parametrize("command", ["list", "revoke", "disable"])
@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_filter_is_a_sentence(run: Run, command: str, arguments: list[str], sentence: str) -> None:
    done = run("keys", command, *arguments, *(["--yes"] if command != "list" else []))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert sentence in done.err


@pytest.mark.parametrize("option", ["--prefix", "--created-by", "--expiring-within", "--user", "--last-used-before"])
def test_a_key_in_a_filter_is_never_echoed(run: Run, option: str) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run("keys", "revoke", option, key, "--yes")
    assert done.code == 2
    assert key[12:] not in done.out + done.err


def test_one_key_is_disabled_and_enabled(run: Run) -> None:
    key = created(run)
    assert run("keys", "disable", key["key_id"], "--json").json["status"] == "disabled"
    refused = run("keys", "verify", stdin=key["key"])
    assert (refused.code, refused.err) == (1, "mcp-keys-server: the API key is refused: it is disabled\n")
    assert "status                active" in run("keys", "enable", key["key_id"]).out
    assert run("keys", "verify", stdin=key["key"]).code == 0
    run("keys", "revoke", key["key_id"])
    for command in ("disable", "enable"):
        done = run("keys", command, key["key_id"])
        assert (done.code, "or it was revoked" in done.err) == (1, True)
