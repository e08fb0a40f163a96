from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.proven_facts import ProvenFacts

MINT = KeyMint(b"secret")


def test_a_fact_is_about_one_key_and_one_hash() -> None:
    facts = ProvenFacts()
    key, other = MINT.mint(), MINT.mint()
    facts.add(facts.fact(key, "hash"))
    assert facts.holds(facts.fact(key, "hash"))
    assert not facts.holds(facts.fact(key, "another hash"))
    assert not facts.holds(facts.fact(other, "hash"))


def test_a_fact_means_nothing_to_another_process() -> None:
    key = MINT.mint()
    assert ProvenFacts().fact(key, "hash") != ProvenFacts().fact(key, "hash")


def test_the_memory_is_bounded_and_forgets_what_is_not_asked_for() -> None:
    facts = ProvenFacts(most=100)
    asked_for, forgotten = b"asked for", b"forgotten"
    facts.add(asked_for)
    facts.add(forgotten)
    for number in range(1_000):
        facts.add(number.to_bytes(16))
        assert facts.holds(asked_for)
    assert not facts.holds(forgotten)
    assert sum(facts.holds(number.to_bytes(16)) for number in range(1_000)) <= 150
