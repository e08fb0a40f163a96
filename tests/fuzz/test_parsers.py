"""Whatever comes in, each parser takes it or refuses it in its own way, and repeats nothing of what it refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_keys_server.core.field_rules import parse_user_id
from tests.fuzz.parser import EchoError, Parser, as_text, of_text
from tests.fuzz.parsers import PARSERS

EVERY = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)


@st.composite
def _like_a_seed(draw: st.DrawFn, parser: Parser) -> bytes:
    """One of the seeds with something else in the place of a part of it."""
    seed = draw(st.sampled_from(parser.seeds))
    first, last = sorted((draw(st.integers(0, len(seed))), draw(st.integers(0, len(seed)))))
    instead = draw(st.binary(max_size=8) | st.text(max_size=8).map(str.encode) | st.sampled_from(parser.seeds))
    return seed[:first] + instead + seed[last:]


@EVERY
@settings(max_examples=60)
@given(st.data())
def test_whatever_comes_is_taken_or_refused_as_it_should_be(parser: Parser, data: st.DataObject) -> None:
    parser.try_it(data.draw(_like_a_seed(parser) | st.binary(max_size=200) | st.text(max_size=100).map(str.encode)))


@EVERY
def test_what_others_are_made_from_is_as_it_should_be(parser: Parser) -> None:
    for seed in parser.seeds:
        for end in range(len(seed) + 1):
            parser.try_it(seed[:end])
        parser.try_it(seed * 3)
        parser.try_it(b"\0" + seed + b"\xff")


@EVERY
def test_a_first_seed_is_taken(parser: Parser) -> None:
    """Or else nothing of what a parser does with what it takes is tried."""
    parser.take(parser.seeds[0])


def _raising(error: Exception) -> Parser:
    def take(_: bytes) -> None:
        raise error

    return Parser("broken", take, (ValueError,), (b"x",))


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), AssertionError("it does not hold")])
def test_a_parser_that_raises_anything_else_is_found_out(error: Exception) -> None:
    with pytest.raises(type(error)):
        _raising(error).try_it(b"x")


def test_a_parser_that_repeats_what_it_refuses_is_found_out() -> None:
    def echoing(text: str) -> None:
        raise ValueError(f"{text!r} is none")

    with pytest.raises(EchoError):
        of_text("broken", echoing, (ValueError,), "x").try_it(b"mhu_" + b"AbCdEfGhIjKl" * 4)
    of_text("whole", parse_user_id, (Exception,), "ada").try_it(b"mhu_" + b"AbCdEfGhIjKl" * 4)


def test_bytes_that_are_no_text_are_lone_surrogates() -> None:
    assert as_text(b"a\xff") == "a\udcff"
