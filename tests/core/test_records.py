from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server import Grant, Principal
from mcp_keys_server.core.records import Claim, KeyRecord, KeyStatus, KnownSecret, ProvenHash, SecretRecord

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
OPEN, LAPSED = Claim(NOW + timedelta(microseconds=1)), Claim(NOW)
SECRET = (KnownSecret("AAAAAAAA", NOW),)


def a_key(
    *, secrets: tuple[KnownSecret, ...] = (), claim: Claim | None = None, disabled_at: datetime | None = None
) -> KeyRecord:
    grant = Grant(frozenset(), None, None)
    return KeyRecord("key_1", "ada", "x", grant, None, NOW, secrets=secrets, claim=claim, disabled_at=disabled_at)


@pytest.mark.parametrize(
    ("key", "status", "awaits_claim"),
    [
        (a_key(), KeyStatus.LAPSED, False),
        (a_key(claim=LAPSED), KeyStatus.LAPSED, False),
        (a_key(claim=OPEN), KeyStatus.UNCLAIMED, True),
        (a_key(claim=OPEN, disabled_at=NOW), KeyStatus.UNCLAIMED, False),
        (a_key(secrets=SECRET), KeyStatus.ACTIVE, False),
        (a_key(secrets=SECRET, claim=LAPSED), KeyStatus.ACTIVE, False),
        (a_key(secrets=SECRET, claim=OPEN), KeyStatus.ACTIVE, True),
        (a_key(secrets=SECRET, claim=OPEN, disabled_at=NOW), KeyStatus.DISABLED, False),
    ],
)
def test_a_key_waits_for_its_owner_while_its_claim_is_open_and_it_is_not_disabled(
    key: KeyRecord, status: KeyStatus, *, awaits_claim: bool
) -> None:
    assert (key.status(NOW), key.awaits_claim(NOW)) == (status, awaits_claim)


def test_a_status_is_told_in_the_word_that_it_is_called_by() -> None:
    assert [status.value for status in KeyStatus] == [status.name.lower() for status in KeyStatus]


def test_neither_a_hash_nor_a_proof_is_shown() -> None:
    principal = Principal("ada", "key_1", Grant(frozenset(), None, None))
    record = SecretRecord(
        principal, "the hash", revoked=False, disabled=False, owner_disabled=False, proof=b"the proof"
    )
    for shown in (repr(record), repr(ProvenHash("the hash", b"the proof"))):
        assert "the hash" not in shown
        assert "the proof" not in shown
