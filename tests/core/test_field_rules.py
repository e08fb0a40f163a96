from collections.abc import Callable
from datetime import timedelta

import pytest

from mcp_keys_server import InvalidFieldError
from mcp_keys_server.core import field_rules
from tests.mints import mint_of

KEY = mint_of(b"secret").mint().reveal()


@pytest.mark.parametrize("text", ["ada", "0", "a" * 64, "ada_lovelace-1815"])
def test_a_user_id_and_an_alias_are_lower_case_words(text: str) -> None:
    assert field_rules.parse_user_id(text) == text
    assert field_rules.parse_alias(text) == text
    field_rules.check_aliases([text])


BAD_WORDS = ["", "Ada", "ada ", "-ada", "_ada", "a" * 65, "ada/keys", "ada\n", "ädä", "..", "%61da", "ada\0", "ａda"]


@pytest.mark.parametrize("text", BAD_WORDS)
def test_any_other_spelling_of_a_word_is_refused(text: str) -> None:
    refuse(field_rules.parse_user_id, text, "user_id")
    refuse(field_rules.parse_alias, text, "alias")
    refuse(lambda word: field_rules.check_aliases([word]), text, "aliases")


def test_aliases_are_one_at_least_and_not_too_many() -> None:
    field_rules.check_aliases([f"a{number}" for number in range(64)])
    for aliases in ([], [f"a{number}" for number in range(65)]):
        with pytest.raises(InvalidFieldError, match="^aliases: "):
            field_rules.check_aliases(aliases)


@pytest.mark.parametrize("text", ["notes:read_*", "*:*", "notes:Read.all-9"])
def test_a_tool_is_an_alias_and_a_name_with_stars(text: str) -> None:
    field_rules.check_tools([text])


@pytest.mark.parametrize(
    "text", ["", "read", "notes:", "no*:read", "notes:read all", "notes:a\n", "notes:" + "a" * 129]
)
def test_what_is_not_a_tool_is_refused(text: str) -> None:
    refuse(lambda tool: field_rules.check_tools([tool]), text, "tools")


def test_tools_are_one_at_least_and_not_too_many() -> None:
    field_rules.check_tools([f"notes:a{number}" for number in range(64)])
    for tools in ([], [f"notes:a{number}" for number in range(65)]):
        with pytest.raises(InvalidFieldError, match="^tools: "):
            field_rules.check_tools(tools)


@pytest.mark.parametrize("text", ["keys:read", "orders:read", "a", "files.read/own", "x" * 64])
def test_a_scope_may_be_any_word_of_the_operators(text: str) -> None:
    field_rules.check_scopes([text, text])


@pytest.mark.parametrize("text", ["", "Keys:Read", "keys:read keys:write", "1", "x" * 65, "a\n", "ä", '"', "a\\"])
def test_what_is_not_a_scope_is_refused(text: str) -> None:
    refuse(lambda scope: field_rules.check_scopes([scope]), text, "scopes")


def test_scopes_may_be_none_but_not_very_many() -> None:
    field_rules.check_scopes([])
    field_rules.check_scopes([f"s{number}" for number in range(32)])
    with pytest.raises(InvalidFieldError, match="^scopes: "):
        field_rules.check_scopes([f"s{number}" for number in range(33)])


@pytest.mark.parametrize("text", ["Laptop", " Ada's phone  ", "键", "Büro 🗝", "<script>alert(1)</script>", "a" * 64])
def test_a_name_is_any_printable_line(text: str) -> None:
    assert field_rules.parse_name(text) == text.strip()


UNPRINTABLE = [
    "a\nb",
    "a\tb",
    "a\0b",
    "a\x1b[31mb",
    "a\u202eb",
    "a\u2066b",
    "a\u200bb",
    "a\u2028b",
    "a\ud800b",
    "a\x7fb",
]


@pytest.mark.parametrize("text", ["", "   ", "a" * 65, *UNPRINTABLE])
def test_a_name_that_is_empty_long_or_deceiving_is_refused(text: str) -> None:
    refuse(field_rules.parse_name, text, "name")


def test_a_reason_may_be_empty() -> None:
    assert field_rules.parse_reason("") == ""


@pytest.mark.parametrize("text", ["a" * 201, *UNPRINTABLE])
def test_a_reason_that_is_long_or_deceiving_is_refused(text: str) -> None:
    refuse(field_rules.parse_reason, text, "reason")


def test_an_email_has_one_spelling() -> None:
    assert field_rules.parse_email(" Ada@Example.COM ") == "ada@example.com"


@pytest.mark.parametrize(
    "text", ["", "ada", "@", "ada@", "@example.com", "a@b@c", "a b@c", "a@b\u202e", "a" * 65 + "@b"]
)
def test_what_is_not_an_email_is_refused(text: str) -> None:
    refuse(field_rules.parse_email, text, "email")


def test_a_user_is_named_by_id_or_email() -> None:
    assert field_rules.parse_user("ada") == "ada"
    assert field_rules.parse_user("Ada@example.com") == "ada@example.com"
    refuse(field_rules.parse_user, "ADA", "user")


@pytest.mark.parametrize("days", [1 / 86_400, 0.5, 3650])
def test_a_life_is_days_or_a_part_of_one(days: float) -> None:
    field_rules.check_life(days)


@pytest.mark.parametrize("days", [0, 1e-300, 1 / 86_401, -1, 3650.1, 1e300, float("inf"), float("-inf"), float("nan")])
def test_a_life_that_is_none_or_without_end_is_refused(days: float) -> None:
    with pytest.raises(InvalidFieldError, match="^expires_in_days: "):
        field_rules.check_life(days)


@pytest.mark.parametrize("days", [1e-6, 0.5, 3650])
def test_so_many_days_may_be_a_part_of_one(days: float) -> None:
    assert field_rules.check_days("unused_days", days) == timedelta(days=days)


@pytest.mark.parametrize("days", [0, -1, 3650.1, float("inf"), float("nan")])
def test_no_days_and_too_many_are_refused(days: float) -> None:
    with pytest.raises(InvalidFieldError, match="^unused_days: "):
        field_rules.check_days("unused_days", days)


@pytest.mark.parametrize(
    "text", ["", "key_", "key_0123456789ABCDEF", "key_0123456789abcdef0", "key_0123456789abcdef\n"]
)
def test_what_is_not_a_key_id_is_refused(text: str) -> None:
    refuse(field_rules.parse_key_id, text, "key_id")


@pytest.mark.parametrize("text", ["A", "abcDEF_-", "-" * 8])
def test_a_prefix_is_found_by_its_beginning(text: str) -> None:
    assert field_rules.parse_prefix(text) == text


@pytest.mark.parametrize("text", ["", "a" * 9, "a b", "a\n", "é"])
def test_what_is_no_beginning_of_a_prefix_is_refused(text: str) -> None:
    refuse(field_rules.parse_prefix, text, "prefix")


FIELDS: dict[str, Callable[[str], object]] = {
    "key_id": field_rules.parse_key_id,
    "cursor": field_rules.parse_cursor,
    "email": field_rules.parse_email,
    "name": field_rules.parse_name,
    "reason": field_rules.parse_reason,
    "user_id": field_rules.parse_user_id,
    "user": field_rules.parse_user,
    "alias": field_rules.parse_alias,
    "prefix": field_rules.parse_prefix,
    "scopes": lambda text: field_rules.check_scopes([text]),
    "aliases": lambda text: field_rules.check_aliases([text]),
    "tools": lambda text: field_rules.check_tools([text]),
}


@pytest.mark.parametrize("hours", [0, 0.5, 720])
def test_an_older_secret_stays_good_for_thirty_days_at_the_longest(hours: float) -> None:
    assert field_rules.check_overlap(hours) == timedelta(hours=hours)
    for other in (-0.001, 720.001, float("nan"), float("inf")):
        with pytest.raises(InvalidFieldError, match="^overlap_hours: a number of hours, from 0 .at once. to 720"):
            field_rules.check_overlap(other)


@pytest.mark.parametrize("field", FIELDS)
def test_a_pasted_key_is_recognised_in_every_field(field: str) -> None:
    refuse(FIELDS[field], KEY, field)
    with pytest.raises(InvalidFieldError, match="revoke it") as refused:
        FIELDS[field](KEY)
    assert KEY[4:] not in str(refused.value)


@pytest.mark.parametrize(
    "parse",
    [field_rules.parse_key_id, field_rules.parse_name, field_rules.parse_user_id, field_rules.parse_email],
)
def test_no_refusal_repeats_what_was_sent(parse: Callable[[str], object]) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        parse("Hunter\n2")
    assert "Hunter" not in str(refused.value)


def refuse(parse: Callable[[str], object], text: str, field: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        parse(text)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")
