"""What a row of another system becomes here, however strange it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server.core.grant import MANAGEMENT_SCOPES
from mcp_keys_server.core.imported_key import (
    ID_COLUMN,
    SCOPES_OF_FLEETMIND,
    ImportedKey,
    ScopeRule,
    System,
    read_key,
)
from mcp_keys_server.core.source_row import UnusableRowError, shown_identity
from tests.imported_keys import bcrypt_of, fleetmind_key, hub_key, sha256_of
from tests.sources import fleetmind_columns, hub_columns

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOTHING_ADDED = ScopeRule(added=frozenset())
HUB_KEY, FLEETMIND_KEY = hub_key(), fleetmind_key()
HUB_ROW = hub_columns(HUB_KEY, id="11", user_id="4b0c0f0e-7a4f-4a51-9f1d-0a3f6f1d2c3b")
FLEETMIND_ROW = fleetmind_columns(FLEETMIND_KEY, "ada@fleet.example", key_id=7, is_active=True, created_at=None)


def of_hub(**columns: Any) -> ImportedKey:  # noqa: ANN401 - strange ones
    return read_key(HUB_ROW | columns, System.HUB, NOW, NOTHING_ADDED)


def of_fleetmind(**columns: Any) -> ImportedKey:  # noqa: ANN401 - strange ones
    return read_key(FLEETMIND_ROW | columns, System.FLEETMIND, NOW, NOTHING_ADDED)


def test_a_key_of_the_hub_is_the_same_key_here() -> None:
    key = of_hub(last_used="2026-03-04T05:06:07+02:00", use_count=3, owner_email="A@b.c", owner_name=" Ada ")
    assert (key.user_id, key.name, key.scopes) == (HUB_ROW["user_id"], "Claude Desktop", frozenset({"read", "write"}))
    assert (key.prefix, key.key_hash) == (HUB_KEY[4:12], f"imported:{HUB_ROW['key_hash']}")
    assert key.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert (key.expires_at, key.revoked) == (None, False)
    assert (key.last_used_at, key.use_count) == (datetime(2026, 3, 4, 3, 6, 7, tzinfo=UTC), 3)
    assert (key.email, key.user_name, key.notes, key.has_naive_times) == ("a@b.c", "Ada", (), False)


def test_a_key_of_fleetmind_is_the_same_key_here() -> None:
    key = of_fleetmind(name="Ada", created_at="2026-01-02 03:04:05", last_used_at="2026-01-02 03:04:05.12")
    assert (key.user_id, key.email, key.user_name) == (FLEETMIND_ROW["user_id"], "ada@fleet.example", "Ada")
    assert (key.prefix, key.key_hash) == (FLEETMIND_KEY[3:11], f"sha256:{sha256_of(FLEETMIND_KEY)}")
    assert (key.name, key.scopes, key.expires_at) == ("FleetMind key", SCOPES_OF_FLEETMIND, None)
    assert key.use_count == 0
    assert key.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert key.last_used_at == datetime(2026, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC)
    assert (key.revoked, key.notes, key.has_naive_times) == (False, (), True)


@pytest.mark.parametrize(("value", "revoked"), [(True, False), (1, False), (False, True), (0, True), (None, True)])
def test_a_key_that_is_not_active_there_is_revoked_here(value: object, revoked: bool) -> None:  # noqa: FBT001
    assert of_fleetmind(is_active=value).revoked is revoked


SKIPPED_OF_HUB: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user_id": None}, "user_id cannot be used here"),
    "a user id of another type": ({"user_id": 5}, "user_id is no text"),
    "a user id with a slash": ({"user_id": "a/b"}, "user_id cannot be used here: 1 to 64"),
    "a user id that is too long": ({"user_id": "a" * 65}, "user_id cannot be used here"),
    "a user id with an odd letter": ({"user_id": "ädа"}, "user_id cannot be used here"),
    "a user id that is a key": ({"user_id": HUB_KEY.lower()}, "user_id cannot be used here: this holds an API key"),
    "no hash": ({"key_hash": None}, "key_hash is no bcrypt string"),
    "a hash of bytes": ({"key_hash": b"$2b$"}, "key_hash is no text"),
    "a hash that was cut": ({"key_hash": HUB_ROW["key_hash"][:-1]}, "key_hash is no bcrypt string"),
    "a hash of SHA-256": ({"key_hash": sha256_of("x")}, "key_hash is no bcrypt string"),
    "a hash without cost": ({"key_hash": HUB_ROW["key_hash"].replace("$04$", "$03$")}, "key_hash is no bcrypt string"),
    "a hash of hours": ({"key_hash": HUB_ROW["key_hash"].replace("$04$", "$31$")}, "has the cost 31, which takes too"),
    "no prefix": ({"key_prefix": None}, "key_prefix is not the 8 characters"),
    "a long prefix": ({"key_prefix": "abcdefghi"}, "key_prefix is not the 8 characters"),
    "an odd prefix": ({"key_prefix": "abcdefg!"}, "key_prefix is not the 8 characters"),
    "an end of words": ({"expires_at": "tomorrow"}, "expires_at is no time"),
    "an end in numbers": ({"expires_at": 1767225600}, "expires_at is no time"),
    "an end beyond the calendar": ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at is no time"),
    "an end in year 10000": ({"expires_at": "10000-01-01T00:00:00"}, "expires_at is no time"),
    "scopes of another type": ({"scopes": 7}, "scopes is no text"),
    "very many scopes": ({"scopes": " ".join(f"s{n}" for n in range(33))}, "its scopes cannot be kept: at most 32"),
    "one site only": ({"site_id": "x"}, "it opens one site only"),
}
SKIPPED_OF_FLEETMIND: dict[str, tuple[dict[str, Any], str]] = {
    "a hash that was cut": ({"api_key_hash": "0" * 63}, "is not 64 hexadecimal digits"),
    "a hash in upper case": ({"api_key_hash": "A" * 64}, "is not 64 hexadecimal digits"),
    "a hash with a line end": ({"api_key_hash": "a" * 64 + "\n"}, "is not 64 hexadecimal digits"),
    "a hash of bcrypt": ({"api_key_hash": bcrypt_of("x")}, "is not 64 hexadecimal digits"),
    "no hash": ({"api_key_hash": None}, "is not 64 hexadecimal digits"),
    "a hash of bytes": ({"api_key_hash": b"0" * 64}, "api_key_hash is no text"),
    "another prefix": ({"api_key_prefix": "xx_abcdefghi"}, "is not 'fm_' and 9 characters"),
    "a short prefix": ({"api_key_prefix": "fm_abcdefgh"}, "is not 'fm_' and 9 characters"),
    "no prefix": ({"api_key_prefix": None}, "is not 'fm_' and 9 characters"),
    "active perhaps": ({"is_active": "perhaps"}, "is_active is neither true nor false"),
    "active twice": ({"is_active": 2}, "is_active is neither true nor false"),
    "no user": ({"user_id": ""}, "user_id cannot be used here"),
    "a long user id": ({"user_id": "u" * 100}, "user_id cannot be used here"),
}


@pytest.mark.parametrize(("columns", "reason"), SKIPPED_OF_HUB.values(), ids=SKIPPED_OF_HUB)
def test_a_row_of_the_hub_that_cannot_be_taken_says_why(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRowError) as skipped:
        of_hub(**columns)
    assert reason in str(skipped.value)


@pytest.mark.parametrize(("columns", "reason"), SKIPPED_OF_FLEETMIND.values(), ids=SKIPPED_OF_FLEETMIND)
def test_a_row_of_fleetmind_that_cannot_be_taken_says_why(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRowError) as skipped:
        of_fleetmind(**columns)
    assert reason in str(skipped.value)


NOTED: dict[str, tuple[dict[str, Any], str, object, str]] = {
    "upper case": ({"user_id": "4B0C"}, "user_id", "4b0c", "its user id is in lower case here"),
    "a name of lines": ({"name": "a\nb\u202ec"}, "name", "a b c", "name is no name here, and was shortened"),
    "a long name": ({"name": "n" * 65}, "name", "n" * 64, "name is no name here, and was shortened"),
    "a name that is a key": ({"name": f"my {HUB_KEY}"}, "name", "Hub key", "name is no name here, and was left out"),
    "a name of nothing": ({"name": "\u200b"}, "name", "Hub key", "name is no name here, and was left out"),
    "an e-mail that is none": ({"owner_email": "ada"}, "email", None, "its e-mail is none, and was left out"),
    "an e-mail of bytes": ({"owner_email": b"a@b.c"}, "email", None, "its e-mail is none, and was left out"),
    "a scope in capitals": ({"scopes": "read ADMIN"}, "scopes", {"read"}, "scopes holds what is no scope here"),
    "a right over keys": ({"scopes": "read keys:introspect"}, "scopes", {"read"}, "the scope keys:introspect means"),
    "a right to manage": ({"scopes": "read keys:write"}, "scopes", {"read"}, "the scope keys:write means"),
    "made at no time": ({"created_at": "once"}, "created_at", NOW, "created_at is no time; taken as now"),
    "made at none": ({"created_at": None}, "created_at", NOW, "created_at is no time; taken as now"),
    "used at no time": ({"last_used": "often"}, "last_used_at", None, "last_used is no time, and was left out"),
    "a right before another": ({"scopes": "keys:write read"}, "scopes", {"read"}, "the scope keys:write means"),
    "used too often": ({"use_count": 2**31}, "use_count", 0, "its count of uses is none, and was left out"),
    "used a bit": ({"use_count": "0.5"}, "use_count", 0, "its count of uses is none, and was left out"),
}


@pytest.mark.parametrize(("columns", "field", "value", "note"), NOTED.values(), ids=NOTED)
def test_a_row_that_is_only_strange_is_taken_with_a_note(
    columns: dict[str, Any], field: str, value: object, note: str
) -> None:
    key = of_hub(**columns)
    assert getattr(key, field) == value
    (noted,) = key.notes
    assert noted.startswith(note)


@pytest.mark.parametrize("name", [None, "", "  ", 5, b"x"])
def test_a_key_without_a_name_gets_one(name: object) -> None:
    assert (of_hub(name=name).name, of_hub(name=name).notes) == ("Hub key", ())


def test_an_end_that_has_passed_stays() -> None:
    key = of_hub(expires_at="2026-01-01T00:00:00")
    assert (key.expires_at, key.has_naive_times) == (datetime(2026, 1, 1, tzinfo=UTC), True)
    assert not key.is_live(NOW)
    assert not of_hub(expires_at=NOW.isoformat()).is_live(NOW)
    assert of_hub(expires_at=(NOW + timedelta(seconds=1)).isoformat()).is_live(NOW)


def test_a_hash_may_take_as_long_to_check_as_one_that_is_made_here() -> None:
    dearest = HUB_ROW["key_hash"].replace("$04$", "$16$")
    assert of_hub(key_hash=dearest).key_hash == f"imported:{dearest}"


def test_columns_may_have_their_older_names_or_be_missing() -> None:
    key = of_hub(last_used=None, last_used_at="2026-01-01T00:00:00Z", use_count=None, usage_count=5)
    assert (key.last_used_at, key.use_count) == (datetime(2026, 1, 1, tzinfo=UTC), 5)
    assert of_hub(use_count=2**31 - 1).use_count == 2**31 - 1
    row = {name: value for name, value in HUB_ROW.items() if name not in ("last_used", "use_count")}
    missing = read_key(row, System.HUB, NOW, NOTHING_ADDED)
    assert (missing.last_used_at, missing.use_count, missing.notes) == (None, 0, ())


def test_a_key_has_the_same_id_whenever_it_is_read_and_no_other_key_has_it() -> None:
    assert of_hub().key_id == of_hub(name="renamed", expires_at="2026-01-01T00:00:00Z").key_id
    other_hash = bcrypt_of(hub_key())
    assert of_hub().key_id == of_hub(id="12").key_id == of_hub(id=None).key_id
    assert of_hub().key_id != of_hub(key_hash=other_hash).key_id
    assert of_fleetmind().key_id != of_fleetmind(api_key_hash="0" * 64).key_id  # key 7 of another database


def test_the_scopes_are_those_that_the_operator_says() -> None:
    rules = {
        ScopeRule(): {"read", "write"} | MANAGEMENT_SCOPES,
        NOTHING_ADDED: {"read", "write"},
        ScopeRule(instead=frozenset({"x"}), added=frozenset()): {"x"},
    }
    for rule, scopes in rules.items():
        assert read_key(HUB_ROW, System.HUB, NOW, rule).scopes == scopes


def test_the_hash_is_not_printed_with_the_key() -> None:
    for key, secret in ((of_hub(), HUB_ROW["key_hash"]), (of_fleetmind(), sha256_of(FLEETMIND_KEY))):
        assert secret not in repr(key)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("abc", "abc"), (7, "7"), (None, "?"), (b"abc", "?"), ("", "?"), ("a\nb\x1b", "a?b?"), ("x" * 99, "x" * 64)],
)
def test_a_row_is_called_by_its_id_in_a_report(value: object, shown: str) -> None:
    assert shown_identity({"id": value}, "id") == shown


def test_an_id_that_is_a_key_is_not_shown() -> None:
    assert HUB_KEY[12:] not in shown_identity({"id": HUB_KEY}, "id")


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text()


@given(st.sampled_from(System), st.data())
def test_no_row_does_anything_but_become_a_key_or_say_why_not(system: System, data: st.DataObject) -> None:
    whole = HUB_ROW if system is System.HUB else FLEETMIND_ROW
    columns = data.draw(st.sets(st.sampled_from(sorted({*whole, "last_used_at", "owner_email", "owner_name"}))))
    row = whole | {column: data.draw(ANYTHING) for column in columns}
    try:
        key = read_key(row, system, NOW, ScopeRule())
    except UnusableRowError:
        assert columns
    else:
        assert key.created_at.tzinfo is UTC
    assert shown_identity(row, ID_COLUMN[system]).isprintable()
