"""What is decided when keys are made, claimed and rotated, from holdings and nothing else; see test_policy, test_claims
and test_rotation for what becomes of it.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server import Grant, KeyRecord, RequestedGrant
from mcp_keys_server.core import issuance
from mcp_keys_server.core.changes import AddSecret, EndSecret, EndSessions, Holdings, PutClaim, RemoveSecret, SpendClaim
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import ClaimNotOpenError, NotRotatableError, TooManyKeysError
from mcp_keys_server.core.issuance import NewKey, NewSecret
from mcp_keys_server.core.ledger import OPERATOR, Doer
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy
from mcp_keys_server.core.records import Claim, KnownSecret, Person, UserRecord

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY_ID = "key_0000000000000001"
OLD = KnownSecret("AAAAAAAA", NOW - HOUR)
NEW = NewSecret("BBBBBBBB", "a hash")
ADDED = AddSecret(KEY_ID, "BBBBBBBB", "a hash", NOW)
BY_OPERATOR = Deed(OPERATOR, NOW)
BY_ADA = Deed(Doer("person"), NOW, Person("ada"))
INVITED = Deed(Doer("invitation"), NOW)


def a_key(
    key_id: str = KEY_ID,
    *,
    secrets: tuple[KnownSecret, ...] = (OLD,),
    claim: Claim | None = None,
    expires_at: datetime | None = None,
    disabled_at: datetime | None = None,
) -> KeyRecord:
    grant = Grant(frozenset({"keys:read"}), None, expires_at)
    return KeyRecord(
        key_id, "ada", "Laptop", grant, None, NOW - HOUR, secrets=secrets, claim=claim, disabled_at=disabled_at
    )


def holding(*keys: KeyRecord) -> Holdings:
    return Holdings(UserRecord("ada", None, None, NOW - HOUR), {key.key_id: key for key in keys}, {})


def disabled(holdings: Holdings) -> Holdings:
    return replace(holdings, user=replace(holdings.user, disabled_at=NOW))


def holding_many(live: int, ended: int = 0) -> Holdings:
    ends = [None] * live + [NOW] * ended
    return holding(*(a_key(f"key_{number:016}", expires_at=end) for number, end in enumerate(ends)))


def is_made(holdings: Holdings, policy: KeyPolicy = NO_LIMITS) -> bool:
    try:
        issuance.create(holdings, BY_OPERATOR, NewKey("x", RequestedGrant()), policy)
    except TooManyKeysError:
        return False
    return True


@pytest.mark.parametrize(("live", "ended", "made"), [(2, 0, True), (3, 0, False), (2, 4, True), (3, 4, False)])
def test_as_many_keys_are_live_as_the_policy_says_beside_those_that_have_ended(
    live: int, ended: int, *, made: bool
) -> None:
    assert is_made(holding_many(live, ended), KeyPolicy(max_live_keys=3)) is made


def test_what_is_disabled_or_waits_to_be_claimed_is_live() -> None:
    switched_off = a_key(disabled_at=NOW)
    waiting = a_key("key_0000000000000002", secrets=(), claim=Claim(NOW + HOUR))
    lapsed = a_key("key_0000000000000003", secrets=(), claim=Claim(NOW))
    assert not is_made(holding(switched_off, waiting), KeyPolicy(max_live_keys=2))
    assert is_made(holding(switched_off, lapsed), KeyPolicy(max_live_keys=2))


@pytest.mark.parametrize(("held", "made"), [(1_999, True), (2_000, False)])
def test_without_a_policy_a_user_holds_as_many_keys_as_a_change_can_read(held: int, *, made: bool) -> None:
    assert is_made(holding_many(held)) is made


@pytest.mark.parametrize(
    ("most_live", "live", "ended", "made"),
    [(None, 0, 0, True), (None, 0, 1, False), (1, 0, 1, True), (1, 0, 2, False), (3, 2, 3, True), (3, 2, 4, False)],
)
def test_beside_as_many_live_keys_as_allowed_there_is_room_for_as_many_that_have_ended(
    monkeypatch: pytest.MonkeyPatch,
    most_live: int | None,
    live: int,
    ended: int,
    *,
    made: bool,
) -> None:
    monkeypatch.setattr(issuance, "MOST_HELD_KEYS", 1)
    assert is_made(holding_many(live, ended), KeyPolicy(max_live_keys=most_live)) is made


def test_a_rotation_lets_the_secret_before_end_with_the_overlap() -> None:
    decision = issuance.rotate(holding(a_key()), BY_ADA, NEW, key_id=KEY_ID, overlap=HOUR)
    assert decision.changes == (EndSecret("AAAAAAAA", NOW + HOUR), ADDED)
    assert decision.answer.secrets == (
        KnownSecret("BBBBBBBB", NOW),
        KnownSecret("AAAAAAAA", OLD.created_at, NOW + HOUR),
    )


def test_a_rotation_without_an_overlap_ends_the_sessions_that_the_secret_before_began() -> None:
    decision = issuance.rotate(holding(a_key()), BY_ADA, NEW, key_id=KEY_ID, overlap=timedelta(0))
    assert decision.changes == (RemoveSecret("AAAAAAAA"), EndSessions(KEY_ID), ADDED)
    assert decision.answer.secrets == (KnownSecret("BBBBBBBB", NOW),)


def test_a_secret_that_has_ended_is_removed_with_the_next_rotation() -> None:
    ended = KnownSecret("CCCCCCCC", NOW - 2 * HOUR, NOW)
    decision = issuance.rotate(holding(a_key(secrets=(OLD, ended))), BY_ADA, NEW, key_id=KEY_ID, overlap=HOUR)
    assert decision.changes == (EndSecret("AAAAAAAA", NOW + HOUR), RemoveSecret("CCCCCCCC"), ADDED)


def test_a_first_secret_ends_neither_a_secret_nor_sessions() -> None:
    waiting = a_key(secrets=(), claim=Claim(NOW + HOUR))
    decision = issuance.claim(holding(waiting), BY_ADA, NEW, key_id=KEY_ID)
    assert decision.changes == (SpendClaim(KEY_ID, NOW, None), ADDED)


@pytest.mark.parametrize(
    ("claim", "deed", "opens"),
    [
        (Claim(NOW + HOUR), BY_ADA, True),
        (Claim(NOW + HOUR), INVITED, False),
        (Claim(NOW + HOUR, by_invitation=True), BY_ADA, False),
        (Claim(NOW + HOUR, by_invitation=True), INVITED, True),
        (Claim(NOW), BY_ADA, False),
        (None, BY_ADA, False),
        (None, INVITED, False),
    ],
)
def test_a_claim_is_spent_by_whom_it_is_for_and_without_one_there_is_no_secret(
    claim: Claim | None,
    deed: Deed,
    *,
    opens: bool,
) -> None:
    holdings = holding(a_key(secrets=(), claim=claim))
    if opens:
        assert ADDED in issuance.claim(holdings, deed, NEW, key_id=KEY_ID).changes
    else:
        with pytest.raises(ClaimNotOpenError):
            issuance.claim(holdings, deed, NEW, key_id=KEY_ID)


def test_a_first_secret_takes_a_maker_who_is_still_good() -> None:
    asked = replace(a_key(secrets=(), claim=Claim(NOW + HOUR)), parent_key_id="key_0000000000000002")
    holdings = holding(asked, a_key("key_0000000000000002"))
    assert ADDED in issuance.claim(holdings, BY_ADA, NEW, key_id=KEY_ID).changes
    with pytest.raises(ClaimNotOpenError):
        issuance.claim(holding(asked), BY_ADA, NEW, key_id=KEY_ID)


def test_a_user_who_is_disabled_takes_no_invitation() -> None:
    holdings = holding(a_key(secrets=(), claim=Claim(NOW + HOUR, by_invitation=True)))
    with pytest.raises(ClaimNotOpenError):
        issuance.claim(disabled(holdings), INVITED, NEW, key_id=KEY_ID)


def test_the_next_secret_of_a_key_in_use_takes_no_maker() -> None:
    offered = replace(a_key(claim=Claim(NOW + HOUR, overlap=HOUR)), parent_key_id="key_0000000000000002")
    assert ADDED in issuance.claim(holding(offered), BY_ADA, NEW, key_id=KEY_ID).changes


def test_a_claim_that_would_leave_three_secrets_is_not_open() -> None:
    ending = KnownSecret("CCCCCCCC", NOW - 2 * HOUR, NOW + HOUR)
    holdings = holding(a_key(secrets=(OLD, ending), claim=Claim(NOW + HOUR, overlap=HOUR)))
    with pytest.raises(ClaimNotOpenError):
        issuance.claim(holdings, BY_ADA, NEW, key_id=KEY_ID)


@pytest.mark.parametrize(
    "before",
    [None, Claim(NOW + HOUR, overlap=HOUR), Claim(NOW, by_invitation=True)],
    ids=["no claim", "an offer", "an invitation of long ago"],
)
def test_an_offered_rotation_takes_the_place_of_the_claim_before(before: Claim | None) -> None:
    overlap, claim_life = timedelta(hours=2), timedelta(minutes=15)
    holdings = holding(a_key(claim=before))
    decision = issuance.rotate_by_claim(holdings, BY_ADA, key_id=KEY_ID, overlap=overlap, claim_life=claim_life)
    offered = Claim(NOW + claim_life, overlap=overlap)
    assert (decision.answer.claim, decision.changes) == (offered, (PutClaim(KEY_ID, offered),))


def test_an_offered_rotation_does_not_take_the_place_of_an_invitation_that_is_still_good() -> None:
    holdings = holding(a_key(claim=Claim(NOW + HOUR, by_invitation=True, claimed_at=NOW - HOUR)))
    with pytest.raises(NotRotatableError, match="until 2026-11-21T13:00:00Z whoever was invited may disown"):
        issuance.rotate_by_claim(holdings, BY_ADA, key_id=KEY_ID, overlap=HOUR, claim_life=HOUR)
