import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server import Grant, InvalidFieldError, Principal
from mcp_keys_server.auth.entrance import Entrance

ORDERS = Principal("ada", "key_1", Grant(frozenset(), frozenset({"orders"}), None))
EVERYTHING = Principal("ada", "key_2", Grant(frozenset(), None, None))


def test_one_alias_is_opened_on_every_path() -> None:
    entrance = Entrance(alias="orders")
    assert entrance.opened_alias("/whatever", ORDERS) == "orders"
    assert Entrance(alias="notes").opened_alias("/whatever", ORDERS) is None


def test_a_path_says_which_alias_and_whose() -> None:
    entrance = Entrance(path="/u/{user_id}/{alias}/mcp")
    assert entrance.opened_alias("/u/ada/orders/mcp", ORDERS) == "orders"
    assert entrance.opened_alias("/u/ada/notes/mcp", EVERYTHING) == "notes"
    for path in ("/u/ada/notes/mcp", "/u/bob/orders/mcp", "/u/ada/orders", "/x/u/ada/orders/mcp", "/u//orders/mcp", ""):
        assert entrance.opened_alias(path, ORDERS) is None


def test_alias_and_path_have_both_to_be_right() -> None:
    entrance = Entrance(alias="orders", path="/{user_id}/{alias}")
    assert entrance.opened_alias("/ada/orders", EVERYTHING) == "orders"
    assert entrance.opened_alias("/ada/notes", EVERYTHING) is None
    mine = Entrance(alias="orders", path="/mine/{user_id}")
    assert mine.opened_alias("/mine/ada", ORDERS) == "orders"
    assert mine.opened_alias("/mine/bob", ORDERS) is None


def test_what_is_no_field_is_itself() -> None:
    entrance = Entrance(path="/a.b+/{alias}")
    assert entrance.opened_alias("/a.b+/orders", ORDERS) == "orders"
    assert entrance.opened_alias("/axbb/orders", ORDERS) is None


@given(st.text() | st.text("/u.%ador{}mcps", max_size=20))
def test_no_other_path_is_an_endpoint(path: str) -> None:
    opened = Entrance(path="/u/{user_id}/{alias}/mcp").opened_alias(path, ORDERS)
    assert (opened is not None) == (path == "/u/ada/orders/mcp")


@pytest.mark.parametrize("path", [None, "/mcp", "/u/{user_id}/mcp", "/{}", "/{alias}/{alias}", "/{alias}/{tenant}"])
def test_something_must_say_which_alias(path: str | None) -> None:
    with pytest.raises(ValueError, match="alias"):
        Entrance(path=path)


def test_an_alias_that_nobody_can_have_is_named() -> None:
    with pytest.raises(InvalidFieldError, match="^alias: "):
        Entrance(alias="Orders")
