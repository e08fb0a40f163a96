from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server import Grant, InvalidFieldError, NotPermittedError, RequestedGrant
from mcp_keys_server.core.grant import KEYS_ALIAS

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WORDS = st.frozensets(st.sampled_from(["keys:read", "keys:write", "keys:introspect", "orders:read", "orders:write"]))
ALIASES = st.none() | st.frozensets(st.sampled_from(["keys", "notes", "tickets"]))
LIVES = st.none() | st.floats(1 / 86_400, 3650)
# Of which none is what several others are together, so that grants that allow the same are the same.
TOOLS = st.none() | st.frozensets(st.sampled_from(["notes:read_*", "notes:write_note", "tickets:*_all", "keys:whoami"]))
ENDS = LIVES.map(lambda days: None if days is None else NOW + timedelta(days=days))
GRANTS = st.builds(Grant, WORDS, ALIASES, ENDS, TOOLS)
REQUESTS = st.builds(
    RequestedGrant,
    st.none() | WORDS,
    ALIASES.filter(lambda aliases: aliases != frozenset()),
    LIVES,
    TOOLS.filter(lambda tools: tools != frozenset()),
)


@given(GRANTS, REQUESTS)
def test_a_child_never_has_more_than_its_maker(maker: Grant, requested: RequestedGrant) -> None:
    try:
        child = maker.child(requested, NOW)
    except NotPermittedError:
        return
    assert child.scopes <= maker.scopes
    assert maker.aliases is None or (child.aliases is not None and child.aliases <= maker.aliases)
    assert maker.expires_at is None or (child.expires_at is not None and child.expires_at <= maker.expires_at)
    assert callable_with(child) <= callable_with(maker)
    assert maker.tools is None or child.tools is not None


@given(GRANTS, REQUESTS)
def test_a_child_has_what_was_asked_for_or_is_refused(maker: Grant, requested: RequestedGrant) -> None:
    try:
        child = maker.child(requested, NOW)
    except NotPermittedError:
        return
    assert requested.scopes is None or child.scopes == requested.scopes
    assert requested.aliases is None or child.aliases == requested.aliases
    assert requested.expires_in_days is None or child.expires_at == requested.end(NOW)
    assert requested.tools is None or child.tools == requested.tools


@pytest.mark.parametrize(
    ("field", "value"),
    [("scopes", frozenset({"A"})), ("aliases", frozenset()), ("expires_in_days", 0), ("tools", frozenset({"a"}))],
)
def test_what_breaks_the_rule_of_its_field_cannot_even_be_requested(field: str, value: object) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: "):
        RequestedGrant(**{field: value})  # type: ignore[arg-type]


EVERYTHING = Grant(frozenset({"keys:read", "keys:write", "keys:introspect", "orders:read"}), None, None)


@pytest.mark.parametrize("scope", ["keys:write", "keys:introspect"])
def test_the_right_to_make_keys_and_to_ask_about_them_is_handed_on_only_when_named(scope: str) -> None:
    assert EVERYTHING.child(RequestedGrant(), NOW).scopes == {"keys:read", "orders:read"}
    named = RequestedGrant(scopes=frozenset({scope}))
    assert EVERYTHING.child(named, NOW).scopes == {scope}


def test_the_right_to_ask_about_everybodys_keys_is_no_part_of_what_keys_have_by_themselves() -> None:
    assert RequestedGrant().root(NOW).scopes == {"keys:read", "keys:write"}


def test_what_is_not_asked_for_is_as_with_the_maker() -> None:
    maker = Grant(frozenset(), frozenset({"notes"}), NOW + timedelta(days=1), frozenset({"notes:read_*"}))
    assert maker.child(RequestedGrant(), NOW) == maker


@pytest.mark.parametrize(
    "requested",
    [
        RequestedGrant(scopes=frozenset({"keys:read"})),
        RequestedGrant(aliases=frozenset({"notes", "keys"})),
        RequestedGrant(aliases=frozenset({"notes"})),
        RequestedGrant(expires_in_days=1),
        RequestedGrant(expires_in_days=0.5),
        RequestedGrant(tools=frozenset({"notes:read_*"})),
    ],
)
def test_as_much_as_the_maker_has_is_given_to_whoever_asks_for_it(requested: RequestedGrant) -> None:
    tools = frozenset({"notes:read_*"})
    maker = Grant(frozenset({"keys:read"}), frozenset({"notes", "keys"}), NOW + timedelta(days=1), tools)
    child = maker.child(requested, NOW)
    assert child.aliases == (requested.aliases or maker.aliases)
    assert child.expires_at == (requested.end(NOW) or maker.expires_at)
    assert (child.scopes, child.tools) == (maker.scopes, maker.tools)


@pytest.mark.parametrize(
    ("requested", "words"),
    [
        (RequestedGrant(scopes=frozenset({"admin"})), "scopes: .* keys:read, keys:write, orders:read"),
        (RequestedGrant(aliases=frozenset({"notes", "keys"})), "aliases: .* opens: notes"),
        (RequestedGrant(expires_in_days=2), "expires_in_days: .* 2026-11-22"),
        (RequestedGrant(tools=frozenset({"notes:*"})), r"tools: .* may call: notes:add, notes:read_\*"),
    ],
)
def test_a_refusal_says_which_rule_and_what_would_be_allowed(requested: RequestedGrant, words: str) -> None:
    tools = frozenset({"notes:read_*", "notes:add"})
    maker = Grant(EVERYTHING.scopes, frozenset({"notes"}), NOW + timedelta(days=1), tools)
    with pytest.raises(NotPermittedError, match=words):
        maker.child(requested, NOW)


def test_a_scope_that_is_missing_is_named_with_those_there_are() -> None:
    with pytest.raises(NotPermittedError, match="needs the scope keys:read and has only: none"):
        Grant(frozenset(), None, None).require("keys:read")


def test_a_key_opens_every_alias_unless_it_is_told_which() -> None:
    assert EVERYTHING.opens("anything")
    assert Grant(frozenset(), frozenset({"notes"}), None).opens("notes")
    assert not Grant(frozenset(), frozenset({"notes"}), None).opens("keys")


def test_a_key_calls_every_tool_of_its_aliases_unless_it_is_told_which() -> None:
    assert EVERYTHING.may_call("anything", "whatever")
    notes = Grant(frozenset(), frozenset({"notes"}), None)
    assert notes.may_call("notes", "add")
    assert not notes.may_call("tickets", "add")
    reads = Grant(frozenset(), frozenset({"notes"}), None, frozenset({"notes:list", "*:read_*"}))
    assert [reads.may_call("notes", tool) for tool in ("list", "read_all", "add")] == [True, True, False]
    assert not reads.may_call("tickets", "read_all")
    assert not Grant(frozenset(), None, None, frozenset()).may_call("notes", "list")


def test_what_a_child_may_call_is_a_part_of_what_its_maker_may() -> None:
    maker = Grant(frozenset(), None, None, frozenset({"notes:read_*"}))
    fewer = RequestedGrant(tools=frozenset({"notes:read_a*"}))
    assert maker.child(fewer, NOW).tools == fewer.tools
    for more in ("*:read_a", "notes:*", "notes:re*"):
        with pytest.raises(NotPermittedError, match="^tools: "):
            maker.child(RequestedGrant(tools=frozenset({"notes:read_b", more})), NOW)


@given(GRANTS, GRANTS)
def test_what_two_grants_allow_is_covered_by_both(one: Grant, other: Grant) -> None:
    both = one.meet(other)
    assert both == other.meet(one)
    assert one.covers(both)
    assert other.covers(both)
    assert not one.covers(other) or both == other


@given(GRANTS, REQUESTS)
def test_a_grant_covers_whatever_it_may_hand_on(maker: Grant, requested: RequestedGrant) -> None:
    try:
        child = maker.child(requested, NOW)
    except NotPermittedError:
        return
    assert maker.covers(child)


@given(GRANTS)
def test_a_grant_covers_itself(grant: Grant) -> None:
    assert grant.covers(grant)


@given(GRANTS, GRANTS)
def test_grants_that_cover_each_other_are_the_same(one: Grant, other: Grant) -> None:
    assert (one.covers(other) and other.covers(one)) == (one == other)


@given(GRANTS, GRANTS, GRANTS)
def test_a_grant_covers_what_one_covers_that_it_covers(wide: Grant, middle: Grant, narrow: Grant) -> None:
    if wide.covers(middle) and middle.covers(narrow):
        assert wide.covers(narrow)


@given(GRANTS, GRANTS)
def test_to_cover_is_to_be_able_to_do_all_of_it_at_any_time(one: Grant, other: Grant) -> None:
    moments = [NOW, *(end + step for end in (one.expires_at, other.expires_at) if end for step in AROUND)]
    assert one.covers(other) == all(can(one, moment) >= can(other, moment) for moment in (*moments, THE_LAST))


AROUND = (timedelta(microseconds=-1), timedelta(0))
THE_LAST = datetime.max.replace(tzinfo=UTC)
ALL_ALIASES = ("keys", "notes", "tickets", "one made later")
ALL_TOOLS = ("notes:read_a", "notes:read_b", "notes:write_note", "tickets:see_all", "keys:whoami", "later:made_later")


def callable_with(grant: Grant) -> set[str]:
    return {tool for tool in ALL_TOOLS if grant.may_call(*tool.split(":"))}


def can(grant: Grant, now: datetime) -> set[tuple[str, str]]:
    """All that a key with this grant may do at a moment; that it is good at all is something, too."""
    if grant.expires_at is not None and grant.expires_at <= now:
        return set()
    opened = {alias for alias in ALL_ALIASES if grant.opens(alias)}
    told = (
        {("is not told", "which tools")} if grant.tools is None else set()
    )  # of aliases that it does not open as well
    called = {("calls", tool) for tool in ALL_TOOLS if replace(grant, aliases=None).may_call(*tool.split(":"))}
    has = {("has", scope) for scope in grant.scopes}
    return {("is", "good")} | has | {("opens", alias) for alias in opened} | called | told


EDGE = NOW + timedelta(days=1)
NOTES = frozenset({"notes"})


@pytest.mark.parametrize(
    ("other", "covered"),
    [
        (Grant(frozenset({"a"}), NOTES, EDGE), True),
        (Grant(frozenset(), frozenset(), EDGE - timedelta(microseconds=1)), True),
        (Grant(frozenset({"a", "b"}), NOTES, EDGE), False),
        (Grant(frozenset({"a"}), NOTES | {"keys"}, EDGE), False),
        (Grant(frozenset({"a"}), None, EDGE), False),
        (Grant(frozenset({"a"}), NOTES, EDGE + timedelta(microseconds=1)), False),
        (Grant(frozenset({"a"}), NOTES, None), False),
        (Grant(frozenset({"a"}), NOTES, EDGE, frozenset({"notes:read_all"})), True),
    ],
)
def test_what_goes_beyond_in_one_respect_is_not_covered(other: Grant, *, covered: bool) -> None:
    assert Grant(frozenset({"a"}), NOTES, EDGE).covers(other) is covered
    assert Grant(frozenset({"a", "b"}), None, None).covers(other)


@pytest.mark.parametrize(
    ("tools", "covered"),
    [
        ({"notes:read_a"}, True),
        ({"notes:read_a", "notes:add"}, False),
        (set(), True),
        ({"notes:*"}, False),
        (None, False),
    ],
)
def test_tools_that_are_told_are_covered_by_patterns_that_match_them(tools: set[str] | None, *, covered: bool) -> None:
    told = None if tools is None else frozenset(tools)
    assert Grant(frozenset(), None, None, frozenset({"notes:read_*"})).covers(Grant(frozenset(), None, None, told)) is (
        covered
    )


def test_the_alias_of_the_keys_is_the_one_in_everybodys_configuration() -> None:
    assert KEYS_ALIAS == "keys"
