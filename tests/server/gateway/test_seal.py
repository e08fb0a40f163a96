"""What an upstream gives out is good for whom it was given to."""

import os

import pytest

from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.server.gateway.seal import Seal

SECRET = os.urandom(32)


@pytest.mark.parametrize("value", ["", "a session", "a.b.c", "\udcff", "x" * 10_000, "\0"])
def test_what_was_sealed_is_opened_by_the_same_in_every_process(value: str) -> None:
    sealed = Seal(ChecksumSecrets([SECRET])).seal(value, "ada", "key_0", "notes")
    assert Seal(ChecksumSecrets([SECRET])).open(sealed, "ada", "key_0", "notes") == value


def test_it_is_opened_for_no_other_and_by_no_other() -> None:
    sealed = Seal(ChecksumSecrets([SECRET])).seal("a session", "ada", "key_0", "notes")
    for others in (("bob", "key_0", "notes"), ("ada", "key_1", "notes"), ("ada", "key_0", "tickets"), ("ada", "key_0")):
        assert Seal(ChecksumSecrets([SECRET])).open(sealed, *others) is None
    assert Seal(ChecksumSecrets([os.urandom(32)])).open(sealed, "ada", "key_0", "notes") is None


def test_it_is_opened_after_the_secret_was_replaced_and_until_it_is_forgotten() -> None:
    old, new = SECRET, os.urandom(32)
    sealed = Seal(ChecksumSecrets([old])).seal("a session", "ada")
    assert Seal(ChecksumSecrets([new, old])).open(sealed, "ada") == "a session"
    assert Seal(ChecksumSecrets([new])).open(sealed, "ada") is None
    # By who has it announced only, too, as it is before that makes anything.
    assert Seal(ChecksumSecrets([old, new])).open(Seal(ChecksumSecrets([new, old])).seal("x", "ada"), "ada") == "x"


@pytest.mark.parametrize("made_up", ["", ".", "a session", ".a session", "x.a session", "\udcff.a session", "é.x"])
def test_what_was_never_sealed_is_not_opened(made_up: str) -> None:
    assert Seal(ChecksumSecrets([SECRET])).open(made_up, "ada", "key_0", "notes") is None
