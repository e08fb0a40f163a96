"""The review of keys on the command line; see tests/core/test_review for what is found."""

import pytest

from tests.cli.runs import Run, created
from tests.databases import Database
from tests.mints import mint_of

pytestmark = pytest.mark.usefixtures("ada")


def test_nothing_found_ends_with_0(run: Run) -> None:
    created(run)
    done = run("keys", "review")
    assert (done.code, done.out) == (0, "Nothing was found.\n")
    assert run("keys", "review", "--json").json == []


def test_what_is_found_is_a_line_each_and_ends_with_1(run: Run, database: Database) -> None:
    run("users", "add", "bob")
    key_id = created(run, "--expires-in-days", "10")["key_id"]
    database.sql("UPDATE secrets SET created_at = '2020-02-02T00:00:00.000000+00:00'")
    done = run("keys", "review", "--user", "ada@example.com")
    assert done.code == 1
    header, unused, expiring = done.out.splitlines()
    assert header.split() == ["KEY_ID", "USER_ID", "NAME", "KIND", "SENTENCE"]
    assert unused.startswith(f"{key_id}  ada      Laptop  never_used  it was never used since 2020-02-02")
    assert expiring.split()[:4] == [key_id, "ada", "Laptop", "expiring"]
    assert len(run("keys", "review", "--expiring-days", "9").out.splitlines()) == 2
    as_json = run("keys", "review", "--json")
    assert (as_json.code, as_json.out.count(f'"key_id": "{key_id}"')) == (1, 2)
    assert run("keys", "review", "--user", "bob").code == 0


@pytest.mark.parametrize("option", ["--unused-days", "--expiring-days"])
@pytest.mark.parametrize("value", ["KEY", "-1", "nan", "0", "3651"])
def test_a_bad_number_of_days_is_a_sentence_without_an_echo(run: Run, option: str, value: str) -> None:
    key = mint_of(b"secret").mint().reveal()
    done = run("keys", "review", option, value.replace("KEY", key))
    assert (done.code, done.out) == (2, "")
    assert option.removeprefix("--").replace("-", "_") in done.err.replace("-", "_")
    assert key[12:] not in done.err


def test_a_user_who_is_none_is_a_sentence_without_an_echo(run: Run) -> None:
    key = mint_of(b"secret").mint().reveal()
    for user in ("A B", key):
        done = run("keys", "review", "--user", user)
        assert (done.code, done.out) == (2, "")
        assert key[12:] not in done.err
    assert run("keys", "review", "--user", "eve").code == 1
