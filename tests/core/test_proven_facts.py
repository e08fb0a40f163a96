import pytest

from mcp_keys_server.core.proven_facts import ProvenFacts


def test_a_fact_is_about_one_key_and_one_hash() -> None:
    facts = ProvenFacts()
    facts.add(facts.mac("key"), "hash")
    assert facts.fitted_hash(facts.mac("key")) == "hash"
    assert facts.fitted_hash(facts.mac("another key")) is None
    facts.add(facts.mac("key"), "a newer hash")
    assert facts.fitted_hash(facts.mac("key")) == "a newer hash"


def test_a_mac_means_nothing_to_another_process() -> None:
    assert ProvenFacts().mac("key") != ProvenFacts().mac("key")


def test_whatever_is_presented_has_a_mac() -> None:
    assert ProvenFacts().mac("\udcff no text of any encoding")


def test_the_memory_is_bounded_and_forgets_what_is_not_asked_for() -> None:
    facts = ProvenFacts(most=100)
    facts.add(b"asked for", "a")
    facts.add(b"forgotten", "f")
    for number in range(1_000):
        facts.add(number.to_bytes(16), "h")
        assert facts.fitted_hash(b"asked for") == "a"
    assert facts.fitted_hash(b"forgotten") is None
    remembered = (facts.fitted_hash(number.to_bytes(16)) for number in range(1_000))
    assert sum(key_hash is not None for key_hash in remembered) <= 150


def test_a_newer_hash_takes_no_room_of_others() -> None:
    facts = ProvenFacts(most=2)
    facts.add(b"first", "1")
    for newer in range(10):
        facts.add(b"second", str(newer))
    assert facts.fitted_hash(b"first") == "1"


def test_a_newer_hash_is_what_counts_although_the_older_one_is_not_forgotten_yet() -> None:
    facts = ProvenFacts(most=2)
    facts.add(b"key", "older")
    facts.add(b"another", "x")
    facts.add(b"key", "newer")
    assert facts.fitted_hash(b"key") == "newer"
    roomier = ProvenFacts(most=4)
    for key, key_hash in ((b"key", "older"), (b"another", "x"), (b"a third", "x"), (b"key", "newer")):
        roomier.add(key, key_hash)
    assert roomier.fitted_hash(b"key") == "newer"


@pytest.mark.parametrize(("most", "kept"), [(1, 2), (4, 4), (100, 100)])
def test_so_many_are_remembered_and_the_next_one_takes_the_place_of_the_oldest(most: int, kept: int) -> None:
    def oldest_of(number: int) -> str | None:
        facts = ProvenFacts(most=most)
        for each in range(number):
            facts.add(each.to_bytes(16), "h")
        return facts.fitted_hash(bytes(16))

    assert oldest_of(kept) == "h"
    assert oldest_of(kept + 1) is None
