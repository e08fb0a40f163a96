"""What patterns of tools match, which covers which, and what two of them have in common."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server.core.tool_patterns import LONGEST_PATTERN, MOST_TOOLS, covered, is_pattern, matches, meet

# Of few letters, so that much overlaps; "z" is in no pattern and stands for all letters that are not.
PARTS = st.text("ab*", min_size=1, max_size=5)
PATTERNS = st.builds("{}:{}".format, st.sampled_from(("*", "x", "y")), PARTS)
NAMES = ["".join(letters) for length in range(6) for letters in product("abz", repeat=length)]


def matched(pattern: str) -> set[tuple[str, str]]:
    return {(alias, name) for alias in ("x", "y", "made later") for name in NAMES if matches(pattern, alias, name)}


@pytest.mark.parametrize(
    ("pattern", "alias", "tool", "is_matched"),
    [
        ("notes:read_file", "notes", "read_file", True),
        ("notes:read_file", "notes", "read_files", False),
        ("notes:read_file", "notes", "Read_file", False),
        ("notes:read_file", "tickets", "read_file", False),
        ("notes:read_*", "notes", "read_", True),
        ("notes:read_*", "notes", "read_a\nb:c", True),
        ("notes:read_*", "notes", "a_read_b", False),
        ("notes:*", "notes", "", True),
        ("notes:*_note", "notes", "add_note", True),
        ("notes:a*a", "notes", "a", False),
        ("notes:a*b*c", "notes", "abbc", True),
        ("notes:a*b*c", "notes", "acb", False),
        ("notes:a*bb*b", "notes", "abb", False),
        ("notes:*b*b*", "notes", "aba", False),
        ("notes:a.b", "notes", "aXb", False),
        ("*:read_*", "tickets", "read_all", True),
        ("*:read_*", "tickets", "write_all", False),
    ],
)
def test_a_star_is_any_run_of_letters_and_all_else_is_itself(
    pattern: str, alias: str, tool: str, *, is_matched: bool
) -> None:
    assert matches(pattern, alias, tool) is is_matched


def test_many_stars_are_no_work() -> None:
    stars = "*a" * 60
    assert not matches(f"notes:{stars}", "notes", "a" * 100_000 + "b")
    assert matches(f"notes:{stars}", "notes", "a" * 100_000)


@pytest.mark.parametrize("text", ["notes:read", "*:*", "a:A.b_C-9*", f"{'a' * 63}:{'b' * 128}", f"{'a' * 64}:b"])
def test_a_pattern_is_an_alias_and_a_tool(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    ["", "notes", "notes:", ":read", "no*:read", "**:read", "Notes:read", "notes:a b", "notes:a:b", "notes:a\n",
     "notes:a/b", "notes:ä", "notes:a?", "notes:a\0", f"a:{'b' * 129}", f"{'a' * 65}:b", f"{'a' * 64}:{'b' * 128}"],
)  # fmt: skip
def test_what_is_no_alias_and_tool_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_exactly_when_it_matches_all_that_the_other_does(wide: str, narrow: str) -> None:
    assert covered(narrow, {wide}) == (matched(narrow) <= matched(wide))


def test_each_of_several_covers_by_itself() -> None:
    assert covered("notes:read_a", {"notes:write", "notes:read_*"})
    assert not covered("notes:*", {"notes:a*", "notes:b*"})
    assert not covered("*:read", {"notes:read", "tickets:read"})
    assert not covered("notes:read", frozenset())


@given(st.sets(PATTERNS, max_size=4), st.sets(PATTERNS, max_size=4))
def test_what_sets_have_in_common_is_never_more_than_both_allow(some: set[str], others: set[str]) -> None:
    for pattern in meet(some, others):
        assert is_pattern(pattern)
        assert covered(pattern, some)
        assert covered(pattern, others)


@given(PATTERNS, PATTERNS)
def test_of_two_of_which_one_covers_the_other_the_narrower_is_left(one: str, other: str) -> None:
    if covered(one, {other}):
        assert all(matched(left) == matched(one) for left in meet({one}, {other}))
        assert meet({one}, {other})


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        ("*:read_*", "notes:*", {"notes:read_*"}),
        ("notes:read_*", "notes:*_all", {"notes:read_*_all"}),
        ("notes:a*b*c", "notes:*d*", {"notes:a*b*d*c"}),
        ("notes:ab*", "notes:a*c", {"notes:ab*c"}),
        ("notes:a*", "notes:b*", set()),
        ("notes:*a", "notes:*b", set()),
        ("notes:a*", "tickets:a*", set()),
        ("notes:a", "notes:b*", set()),
        ("notes:a*", "notes:b", set()),
        (f"notes:{'a' * 100}*", f"notes:*{'b' * 100}", set()),
    ],
)
def test_patterns_that_cross_leave_one_that_both_cover(one: str, other: str, left: set[str]) -> None:
    assert meet({one}, {other}) == left


def test_what_is_left_of_very_many_is_not_more_than_a_key_may_have() -> None:
    begins, ends = {f"notes:a{one:02}*" for one in range(64)}, {f"notes:*a{one:02}" for one in range(64)}
    assert len(meet(begins, ends)) == MOST_TOOLS
    assert all(len(pattern) <= LONGEST_PATTERN for pattern in meet(begins, ends))
