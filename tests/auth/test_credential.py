import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_keys_server.auth.credential import NoCredentialError, SeveralCredentialsError, presented_key

Headers = list[tuple[bytes, bytes]]

NONE: dict[str, Headers] = {
    "no headers": [],
    "other headers": [(b"host", b"localhost"), (b"cookie", b"key=abc"), (b"x-api-key-id", b"abc")],
    "empty": [(b"authorization", b"")],
    "both empty": [(b"authorization", b" "), (b"x-api-key", b"")],
    "only the scheme": [(b"authorization", b"Bearer")],
    "only the scheme and spaces": [(b"authorization", b"Bearer   ")],
    "another scheme": [(b"authorization", b"Basic YWRhOnB3")],
    "no scheme": [(b"authorization", b"abc")],
    "the scheme glued on": [(b"authorization", b"Bearerabc")],
    "the scheme and a tab": [(b"authorization", b"Bearer\tabc")],
    "proxy's": [(b"proxy-authorization", b"Bearer abc")],
}
ONE: dict[str, Headers] = {
    "bearer": [(b"authorization", b"Bearer abc")],
    "any case of the scheme": [(b"authorization", b"bEARER abc")],
    "spaces around": [(b"authorization", b"  Bearer   abc  ")],
    "x-api-key": [(b"x-api-key", b"abc")],
    "x-api-key with spaces": [(b"x-api-key", b" abc ")],
    "beside an empty one": [(b"authorization", b""), (b"x-api-key", b"abc")],
}
SEVERAL: dict[str, Headers] = {
    "both headers": [(b"authorization", b"Bearer abc"), (b"x-api-key", b"abc")],
    "bearer twice": [(b"authorization", b"Bearer abc"), (b"authorization", b"Bearer abc")],
    "x-api-key twice": [(b"x-api-key", b"abc"), (b"x-api-key", b"abd")],
    "another scheme beside": [(b"authorization", b"Basic YWRhOnB3"), (b"x-api-key", b"abc")],
}


@pytest.mark.parametrize("headers", NONE.values(), ids=NONE)
def test_what_is_no_key_of_ours_is_none(headers: Headers) -> None:
    with pytest.raises(NoCredentialError):
        presented_key(headers)


@pytest.mark.parametrize("headers", ONE.values(), ids=ONE)
def test_one_key_is_found_in_either_header(headers: Headers) -> None:
    assert presented_key(headers) == "abc"


@pytest.mark.parametrize("headers", SEVERAL.values(), ids=SEVERAL)
def test_two_credentials_are_one_too_many(headers: Headers) -> None:
    with pytest.raises(SeveralCredentialsError):
        presented_key(headers)


def test_a_list_in_one_header_is_left_to_the_verifier() -> None:
    assert presented_key([(b"authorization", b"Bearer abc, Bearer abd")]) == "abc, Bearer abd"


NAMES = st.sampled_from([b"authorization", b"x-api-key", b"cookie"])


@given(st.lists(st.tuples(NAMES, st.binary() | st.binary().map(lambda value: b"Bearer " + value)), max_size=4))
def test_no_headers_make_anything_but_a_key_or_these_two_errors(headers: Headers) -> None:
    try:
        key = presented_key(headers)
    except (NoCredentialError, SeveralCredentialsError):
        return
    assert key
