import ast
import copy
import json
import pickle
import re
import secrets
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mcp_keys_server
from mcp_keys_server import InvalidApiKeyError, InvalidFieldError, Refusal
from mcp_keys_server.core.api_key import ApiKey, contains_api_key, redact
from tests.mints import mint_of

MINT = mint_of(b"a checksum secret")
URL_SAFE = string.ascii_letters + string.digits + "_-"


def test_a_minted_key_has_the_documented_shape() -> None:
    key = MINT.mint()
    assert re.fullmatch(r"mhu_[A-Za-z0-9_-]{43}[A-Za-z0-9_-]{8}", key.reveal())
    assert key.prefix == key.reveal()[4:12]


def test_the_mint_recognises_what_it_minted() -> None:
    for _ in range(1_000):
        key = MINT.mint()
        assert MINT.parse(key.reveal()).prefix == key.prefix


def test_keys_are_all_different() -> None:
    keys = {MINT.mint().reveal() for _ in range(10_000)}
    assert len(keys) == 10_000


def test_nothing_is_drawn_from_what_can_be_predicted() -> None:
    package = Path(mcp_keys_server.__file__).parent
    imported = {
        (path.name, name.split(".")[0])
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    }
    assert ("api_key.py", "secrets") in imported
    assert not {name for _, name in imported} & {"random", "uuid"}


def test_a_key_with_an_earlier_tag_is_still_recognised() -> None:
    earlier = mint_of(b"a checksum secret", tag="corp1_").mint()
    assert MINT.parse(earlier.reveal()).tag == "corp1_"


@pytest.mark.parametrize("tag", ["", "mhu", "MHU_", "1a_", "a-b_", "a_b_", "sixteenletters16_", "mhu_\n", "mhü_"])
def test_a_tag_that_breaks_its_rule_is_refused(tag: str) -> None:
    with pytest.raises(InvalidFieldError, match="^key_tag: "):
        mint_of(b"secret", tag=tag)


def test_the_longest_key_fits_into_what_bcrypt_reads() -> None:
    assert len(mint_of(b"secret", tag="a23456789012345_").mint().reveal()) <= 72


def test_another_servers_key_is_not_recognised() -> None:
    refuse(mint_of(b"another secret").mint().reveal())


def test_the_tag_is_under_the_checksum() -> None:
    refuse(MINT.mint().reveal().replace("mhu_", "abc_"))


@given(position=st.integers(0, 54), replacement=st.sampled_from(URL_SAFE))
def test_one_changed_character_is_noticed(position: int, replacement: str) -> None:
    plaintext = MINT.mint().reveal()
    changed = plaintext[:position] + replacement + plaintext[position + 1 :]
    if changed != plaintext:
        refuse(changed)


@pytest.mark.parametrize("tag", ["mhu_", "fm_"])
def test_a_key_of_a_system_whose_keys_are_imported_is_recognised_by_its_shape(tag: str) -> None:
    plaintext = tag + secrets.token_urlsafe(32)
    key = MINT.parse(plaintext)
    assert (key.imported, key.tag, key.prefix, key.reveal()) == (True, tag, plaintext[len(tag) :][:8], plaintext)
    assert not MINT.parse(MINT.mint().reveal()).imported


@pytest.mark.parametrize("tag", ["key_", "mh_", "fmu_", "FM_", "fm-", "xfm_", ""])
def test_no_other_tag_goes_without_a_checksum(tag: str) -> None:
    refuse(tag + "A" * 43)


@pytest.mark.parametrize("length", [0, 8, 42, 44, 50, 52])
@pytest.mark.parametrize("tag", ["mhu_", "fm_"])
def test_an_imported_key_is_of_one_length(tag: str, length: int) -> None:
    refuse(tag + "A" * length)


@pytest.mark.parametrize("letter", ["\n", " ", "\0", "=", "ü", "\u0663", "\uff21", "\ud800"], ids=ascii)
def test_an_imported_key_has_no_other_letters(letter: str) -> None:
    for spoilt in ("fm_" + "A" * 42 + letter, "fm_" + "A" * 43 + letter, letter + "fm_" + "A" * 43):
        refuse(spoilt)


@given(st.text())
def test_no_text_makes_anything_but_a_refusal(text: str) -> None:
    refuse(text)
    refuse("mhu_" + text)


SPOILT: dict[str, Callable[[str], str]] = {
    "newline at the end": lambda key: key + "\n",
    "newline at the start": lambda key: "\n" + key,
    "space at the end": lambda key: key + " ",
    "one character more": lambda key: key + "A",
    "one character less": lambda key: key[:-1],
    "NUL at the end": lambda key: key + "\0",
    "NUL inside": lambda key: key[:20] + "\0" + key[21:],
    "umlaut": lambda key: key[:20] + "ü" + key[21:],
    "lone surrogate": lambda key: key[:20] + "\ud800" + key[21:],
    "a digit of another script": lambda key: key[:20] + "\u0663" + key[21:],
    "full-width letters": lambda key: key[:-8] + "\uff21" * 8,
    "upper case": lambda key: key.upper(),
    "three times": lambda key: key * 3,
    "10 MB": lambda key: key + "A" * 10_000_000,
    "nothing": lambda _: "",
    "the tag": lambda _: "mhu_",
    "the shape": lambda _: "mhu_" + "A" * 51,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_key_is_refused_without_a_word_of_it(spoil: Callable[[str], str]) -> None:
    refuse(spoil(MINT.mint().reveal()))


def test_printing_a_key_shows_its_prefix_only() -> None:
    key = MINT.mint()
    for printed in (repr(key), str(key), f"{key}", f"{[key]}", "%s" % key):  # noqa: UP031 - each is a way out
        assert key.prefix in printed
        assert key.reveal()[12:] not in printed


def test_a_key_is_never_pickled_or_copied() -> None:
    key = MINT.mint()
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled or copied"):
            leak(key)


def test_a_key_has_no_attribute_dictionary_to_print() -> None:
    assert not hasattr(MINT.mint(), "__dict__")


def test_keys_are_not_compared_by_their_plaintext() -> None:
    plaintext = MINT.mint().reveal()
    assert ApiKey(plaintext, tag="mhu_") != ApiKey(plaintext, tag="mhu_")


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_key_within_any_text_is_taken_out(before: str, after: str) -> None:
    plaintext = MINT.mint().reveal()
    text = before + plaintext + after
    assert contains_api_key(text)
    assert plaintext[12:] not in redact(text)


@pytest.mark.parametrize("tag", ["mhu_", "fm_"])
def test_an_imported_key_is_taken_out_of_texts(tag: str) -> None:
    plaintext = tag + secrets.token_urlsafe(32)
    assert contains_api_key(f"my key is {plaintext}!")
    assert redact(f"my key is {plaintext}!") == f"my key is {plaintext[: len(tag) + 8]}[redacted]!"


def test_a_key_that_stands_in_a_text_is_found_there_and_a_forgery_is_none() -> None:
    native, imported = MINT.mint().reveal(), f"fm_{secrets.token_urlsafe(32)}"
    for plaintext in (native, imported):
        for text in (plaintext, f"my key is {plaintext}!", json.dumps(f"\n{plaintext}"), json.dumps(f"é{plaintext}")):
            assert MINT.occurs_in(text)
    forged = native[:-1] + ("A" if native[-1] != "A" else "B")
    for text in ("", "no key", forged, f"mhu_{forged}", f"a{native}", f"{native}a", native[:-1]):
        assert not MINT.occurs_in(text)


@pytest.mark.parametrize("cut", [1, 5, 15])
def test_a_key_with_characters_missing_is_taken_out_as_well(cut: int) -> None:
    plaintext = MINT.mint().reveal()[:-cut]
    assert plaintext[12:] not in redact(f"Authorization: Bearer {plaintext}")


def test_a_key_hash_is_taken_out() -> None:
    key_hash = "$2b$12$" + secrets.token_hex(26)
    assert redact(f"SET key_hash = '{key_hash}'") == "SET key_hash = '[redacted key hash]'"


def test_the_hash_of_an_imported_key_is_taken_out() -> None:
    digits = secrets.token_hex(32)
    for key_hash in (f"sha256:{digits}", f"imported:$2b$12${digits[:53]}"):
        for before in ("'", "\\n", "0"):
            assert digits[:20] not in redact(f"UPDATE secrets SET key_hash = {before}{key_hash}'")


def test_ordinary_text_is_left_alone() -> None:
    text = "created: key_id=key_0123456789abcdef user_id=ada_lovelace by=key_fedcba9876543210 https://example.com/u/a/b"
    assert redact(text) == text
    assert not contains_api_key(text)


def refuse(presented: str) -> None:
    with pytest.raises(InvalidApiKeyError) as refused:
        MINT.parse(presented)
    assert refused.value.refusal is Refusal.MALFORMED
    assert str(refused.value) == "the API key is refused: it is mistyped or cut off, or was never made here"
    assert refused.value.__context__ is None
