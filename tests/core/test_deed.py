"""What the ledger says of a key; see test_ledger for what it says when, and test_upkeep_of_actors for who may do it."""

from datetime import UTC, datetime

import pytest

from mcp_keys_server import Grant, KeyRecord
from mcp_keys_server.core.deed import described

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
READ = frozenset({"keys:read"})


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        (Grant(READ, None, None), "scopes='keys:read' aliases='all' tools='all' expires_at=never"),
        (
            Grant(frozenset({"b", "a"}), frozenset({"d", "c"}), NOW, frozenset({"d:*", "c:*"})),
            "scopes='a b' aliases='c d' tools='c:* d:*' expires_at=2026-11-21T12:00:00+00:00",
        ),
        (Grant(frozenset(), frozenset(), None, frozenset()), "scopes='' aliases='' tools='' expires_at=never"),
    ],
    ids=["everything", "some", "nothing"],
)
def test_a_key_is_described_by_its_name_and_all_that_it_may(grant: Grant, words: str) -> None:
    key = KeyRecord("key_0000000000000001", "ada", "Ada's", grant, None, NOW)
    assert described(key) == f"""name="Ada's" {words}"""
