from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server import Grant, InvalidFieldError, KeyRecord, NotPermittedError, RequestedGrant
from mcp_keys_server.core import key_manager
from mcp_keys_server.core.records import Claim, KnownSecret, Person, Use
from mcp_keys_server.core.review import FindingKind, review
from tests.world import World, prefix_of

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
READS = Grant(frozenset({"keys:read"}), None, None)
MAKES = Grant(frozenset({"keys:read", "keys:write"}), None, None)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def a_key(
    key_id: str = "key_0000000000000001",
    *,
    grant: Grant = READS,
    created_at: datetime = ago(days=365),  # noqa: B008 - a moment that never changes
    last_used_at: datetime | None = ago(days=1),  # noqa: B008
    secrets: tuple[KnownSecret, ...] | None = None,
    parent_key_id: str | None = None,
    disabled_at: datetime | None = None,
    revoked_at: datetime | None = None,
) -> KeyRecord:
    return KeyRecord(
        key_id=key_id,
        user_id="ada",
        name="Laptop",
        grant=grant,
        parent_key_id=parent_key_id,
        created_at=created_at,
        secrets=(KnownSecret("AAAAAAAA", created_at),) if secrets is None else secrets,
        disabled_at=disabled_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
    )


def kinds(*keys: KeyRecord) -> list[FindingKind]:
    return [finding.kind for finding in review(keys, NOW)]


def test_a_key_in_use_is_left_alone() -> None:
    assert kinds(a_key()) == []
    assert kinds(a_key(last_used_at=ago(days=90))) == []


def test_a_key_that_was_not_used_for_long_is_found_with_the_day() -> None:
    (finding,) = review([a_key(last_used_at=ago(days=90, seconds=1))], NOW)
    assert finding.kind is FindingKind.UNUSED
    assert "last used on 2026-08-23" in finding.sentence
    assert review([a_key(last_used_at=ago(days=91))], NOW, unused_days=92) == []


def test_a_key_that_was_never_used_has_a_week_from_its_secret() -> None:
    assert kinds(a_key(created_at=ago(days=7), last_used_at=None)) == []
    assert kinds(a_key(created_at=ago(days=8), last_used_at=None)) == [FindingKind.NEVER_USED]
    claimed_today = (KnownSecret("AAAAAAAA", NOW),)
    assert kinds(a_key(last_used_at=None, secrets=claimed_today)) == []


def test_a_key_that_expires_soon_is_found_and_one_that_has_expired_is_not() -> None:
    def ending(**units: float) -> KeyRecord:
        return a_key(grant=Grant(READS.scopes, None, NOW + timedelta(**units)))

    (finding,) = review([ending(days=14)], NOW)
    assert finding.kind is FindingKind.EXPIRING
    assert "expires at 2026-12-05 12:00 UTC" in finding.sentence
    assert kinds(ending(days=15)) == []
    assert kinds(ending(days=0)) == []
    assert [finding.kind for finding in review([ending(days=15)], NOW, expiring_days=20)] == [FindingKind.EXPIRING]


@pytest.mark.parametrize(
    ("ends_in_days", "last_used_days_ago", "found"),
    [(1, 1, [FindingKind.OLDER_SECRET_IN_USE]), (1, 2, []), (1, 3, []), (1, None, []), (-1, 1, []), (None, 1, [])],
    ids=["used after", "used at once", "used before", "never used", "ended", "without an end"],
)
def test_an_older_secret_that_is_used_beside_the_newer_one_is_found(
    ends_in_days: float | None, last_used_days_ago: float | None, found: list[FindingKind]
) -> None:
    used = None if last_used_days_ago is None else ago(days=last_used_days_ago)
    ends_at = None if ends_in_days is None else NOW + timedelta(days=ends_in_days)
    older = KnownSecret("BBBBBBBB", ago(days=300), ends_at, used)
    assert kinds(a_key(secrets=(KnownSecret("AAAAAAAA", ago(days=2)), older))) == found


def test_a_key_that_may_make_keys_and_never_does_is_broader_than_it_is_used() -> None:
    maker = a_key("key_0000000000000001", grant=MAKES)
    lately = a_key("key_0000000000000002", created_at=ago(days=9), parent_key_id=maker.key_id)
    long_ago = a_key("key_0000000000000002", created_at=ago(days=99), parent_key_id=maker.key_id)
    assert kinds(maker) == [FindingKind.BROADER_THAN_USED]
    assert kinds(maker, long_ago) == [FindingKind.BROADER_THAN_USED]
    assert kinds(maker, lately) == []
    assert kinds(a_key(grant=MAKES, created_at=ago(days=90))) == []
    just = a_key("key_0000000000000002", created_at=ago(days=90), parent_key_id=maker.key_id)
    assert kinds(maker, just) == []


def test_what_a_key_made_counts_after_it_was_revoked_as_well() -> None:
    maker = a_key("key_0000000000000001", grant=MAKES)
    revoked = a_key("key_0000000000000002", created_at=ago(days=9), parent_key_id=maker.key_id, revoked_at=NOW)
    assert kinds(maker, revoked) == []


def test_a_disabled_key_is_found_when_it_has_been_so_for_long() -> None:
    assert kinds(a_key(disabled_at=ago(days=91), last_used_at=ago(days=200))) == [FindingKind.DISABLED]
    assert kinds(a_key(disabled_at=ago(days=90), last_used_at=ago(days=200))) == []


def test_a_key_all_of_whose_secrets_have_ended_has_no_older_one_in_use() -> None:
    ended = (KnownSecret("AAAAAAAA", ago(days=9), ago(days=3)), KnownSecret("BBBBBBBB", ago(days=99), ago(days=9)))
    assert kinds(a_key(secrets=ended)) == []


def test_keys_that_nobody_can_use_are_left_out() -> None:
    unclaimed = KeyRecord(
        "key_0000000000000001", "ada", "x", MAKES, None, ago(days=30), claim=Claim(NOW + timedelta(days=1))
    )
    assert kinds(unclaimed, a_key(revoked_at=NOW, last_used_at=None)) == []


@pytest.mark.parametrize("days", [0, -1, 3651, float("nan")])
def test_a_number_of_days_has_its_bounds(days: float) -> None:
    with pytest.raises(InvalidFieldError, match="^unused_days: "):
        review([], NOW, unused_days=days)
    with pytest.raises(InvalidFieldError, match="^expiring_days: "):
        review([], NOW, expiring_days=days)


@pytest.mark.anyio
async def test_everybody_reviews_their_own_keys_on_all_pages_and_the_operator_everybodys(world: World) -> None:
    for _ in range(51):
        await world.key("ada")
    bobs, _ = await world.key("bob")
    world.clock.advance(days=8)
    found = await world.ring.manager.review_keys(Person("ada"))
    assert [finding.kind for finding in found] == [FindingKind.NEVER_USED] * 51
    assert [finding.key for finding in await world.ring.manager.review_keys(Person("bob"))] == [bobs]
    assert len(await world.ring.administration.review_keys()) == 52
    assert [finding.key for finding in await world.ring.administration.review_keys("bob")] == [bobs]


@pytest.mark.anyio
async def test_what_has_ended_is_looked_at_on_every_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_manager, "PAGE_SIZE", 1)
    maker = await world.principal()
    world.clock.advance(days=80)
    made, _ = await world.ring.manager.create_key(maker, name="x", requested=RequestedGrant())
    await world.ring.administration.revoke_key(made.key_id, reason=None)
    world.clock.advance(days=11)
    for key in await world.ring.administration.list_keys("ada"):
        await world.ring.store.record_use({prefix_of(key): Use(1, world.clock.now)})
    await world.key()  # newer than these, which so are on later pages
    assert await world.ring.manager.review_keys(Person("ada")) == []


@pytest.mark.anyio
async def test_the_operator_hears_of_no_key_that_made_one_which_has_ended_since(world: World) -> None:
    maker = await world.principal()
    world.clock.advance(days=80)
    made, _ = await world.ring.manager.create_key(maker, name="x", requested=RequestedGrant())
    await world.ring.administration.revoke_key(made.key_id, reason=None)
    world.clock.advance(days=80)
    (key,) = await world.ring.administration.list_keys("ada")
    await world.ring.store.record_use({prefix_of(key): Use(1, world.clock.now)})
    assert await world.ring.administration.review_keys() == []
    assert await world.ring.manager.review_keys(Person("ada")) == []
    world.clock.advance(days=20)
    await world.ring.store.record_use({prefix_of(key): Use(1, world.clock.now)})
    (finding,) = await world.ring.administration.review_keys()
    assert finding.kind is FindingKind.BROADER_THAN_USED


@pytest.mark.anyio
async def test_a_review_needs_the_right_to_read(world: World) -> None:
    principal = await world.principal(requested=RequestedGrant(frozenset({"x"})))
    with pytest.raises(NotPermittedError, match="keys:read"):
        await world.ring.manager.review_keys(principal)


@pytest.mark.anyio
async def test_use_that_was_written_down_is_what_a_review_goes_by(world: World) -> None:
    record, _ = await world.key()
    world.clock.advance(days=8)
    await world.ring.store.record_use({prefix_of(record): Use(1, world.clock.now)})
    assert await world.ring.administration.review_keys() == []


def test_what_is_found_is_told_in_the_word_that_it_is_called_by() -> None:
    assert [kind.value for kind in FindingKind] == [kind.name.lower() for kind in FindingKind]
