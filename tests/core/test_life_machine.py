"""Whatever is done to keys, in whatever order: what opens and what it may is as a plain model says."""

import asyncio
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcp_keys_server import (
    ApiKey,
    Grant,
    InvalidApiKeyError,
    KeyRing,
    McpKeysError,
    Principal,
    RequestedGrant,
    open_key_ring,
)
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Actor, Person
from tests.databases import a_database
from tests.world import SettableClock

ADA = Person("ada")
CLAIM_LIFE = timedelta(minutes=15)
SCOPES = ("keys:read", "keys:write", "orders:read", "orders:write")
ALIASES = ("keys", "notes", "shop")
TOOLS = ("keys:*", "keys:list_*", "keys:list_keys", "shop:*")
DAYS = (0.02, 0.5, 1, 30)
HOURS = (0, 0.25, 24)

a_place = st.integers(0, 5)  # which one; of few, so that much happens to one of them
some_requests = st.builds(
    RequestedGrant,
    st.none() | st.frozensets(st.sampled_from(SCOPES)),
    st.none() | st.frozensets(st.sampled_from(ALIASES), min_size=1),
    st.none() | st.sampled_from(DAYS),
    st.none() | st.frozensets(st.sampled_from(TOOLS), min_size=1),
)


@dataclass
class Secret:
    plaintext: ApiKey
    ends_at: datetime | None = None


@dataclass
class Offer:
    lapses_at: datetime
    overlap: timedelta | None


@dataclass
class Key:
    key_id: str
    maker: "Key | None"
    grant: Grant
    secrets: list[Secret] = field(default_factory=list)
    offer: Offer | None = None
    disabled: bool = False
    revoked: bool = False

    def is_good(self, now: datetime) -> bool:
        ended = self.grant.expires_at is not None and self.grant.expires_at <= now
        return not (self.revoked or self.disabled or ended or not self.secrets)

    def live_secrets(self, now: datetime) -> list[Secret]:
        return [secret for secret in self.secrets if secret.ends_at is None or secret.ends_at > now]

    def has_maker(self, other: "Key") -> bool:
        return self.maker is not None and (self.maker is other or self.maker.has_maker(other))

    def take(self, new: ApiKey, overlap: timedelta, now: datetime) -> None:
        self.secrets = [
            replace(secret, ends_at=min(secret.ends_at or now + overlap, now + overlap))
            for secret in self.live_secrets(now)
            if overlap
        ]
        self.secrets.append(Secret(new))


class LifeOfKeys(RuleBasedStateMachine):
    """One database, opened twice, and beside it what should be in it."""

    KIND = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.left = ExitStack()
        folder = self.left.enter_context(tempfile.TemporaryDirectory())
        self.database = self.left.enter_context(a_database(self.KIND, Path(folder)))
        self.clock = SettableClock()
        self.keys: list[Key] = []
        self.spent: list[ApiKey] = []
        self.rings: list[KeyRing] = []
        self.opened: list[AsyncExitStack] = []

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self.open()
        self.runner.run(self.rings[0].administration.add_user("ada"))
        self.create_by_operator(0, RequestedGrant(frozenset(SCOPES)))

    def open(self) -> None:
        stack = AsyncExitStack()
        ring = open_key_ring(str(self.database), bcrypt_cost=CHEAPEST_COST, clock=self.clock)
        self.rings.append(self.runner.run(stack.enter_async_context(ring)))
        self.opened.append(stack)

    def teardown(self) -> None:
        for stack in self.opened:
            self.runner.run(stack.aclose())
        self.runner.close()
        self.left.close()

    # Who does it, and to what.

    def ring(self, place: int) -> KeyRing:
        return self.rings[place % 2]

    def key(self, place: int) -> Key:
        return self.keys[place % len(self.keys)]

    def actor(self, place: int) -> tuple[Key | None, Actor]:
        """Ada, or a key of hers that is let in or was let in once."""
        if place % 3:
            return None, ADA
        key = self.key(place // 3)
        return key, Principal("ada", key.key_id, Grant(frozenset(SCOPES), None, None))

    def may_write(self, actor: Key | None) -> bool:
        return actor is None or (actor.is_good(self.clock.now) and "keys:write" in actor.grant.scopes)

    def may_have(self, actor: Key | None, key: Key) -> bool:
        return self.may_write(actor) and (actor is None or actor.grant.covers(key.grant))

    def may_pass_on(self, actor: Key | None, key: Key) -> bool:
        """A key does so with itself and with what came of it alone."""
        return self.may_have(actor, key) and (actor is None or actor is key or key.has_maker(actor))

    def grant_for(self, maker: Key | None, requested: RequestedGrant) -> Grant | None:
        """What a new key may, or None where more is asked for than its maker has."""
        has = Grant(frozenset({"keys:read", "keys:write"}), None, None) if maker is None else maker.grant
        scopes = has.scopes - {"keys:write"} if requested.scopes is None else requested.scopes
        aliases = has.aliases if requested.aliases is None else requested.aliases
        asked = requested.end(self.clock.now)
        tools = has.tools if requested.tools is None else requested.tools
        given = Grant(scopes, aliases, has.expires_at if asked is None else asked, tools)
        return given if has.covers(given) else None

    def attempt(self, work: object, *, may: bool) -> object:
        """The result; that it is refused if, and only if, the model refuses it."""

        async def run() -> object:
            return await work  # type: ignore[misc]

        try:
            result = self.runner.run(run())
        except McpKeysError as error:
            assert not may, error
            return None
        assert may
        return result

    # What may happen.

    @rule(place=a_place, requested=some_requests)
    def create_by_operator(self, place: int, requested: RequestedGrant) -> None:
        made = self.ring(place).administration.create_key("ada", name="x", requested=requested)
        record, secret = self.runner.run(made)
        scopes = frozenset({"keys:read", "keys:write"}) if requested.scopes is None else requested.scopes
        grant = Grant(scopes, requested.aliases, requested.end(self.clock.now), requested.tools)
        self.keys.append(Key(record.key_id, None, grant, [Secret(secret)]))

    @rule(place=a_place, who=a_place, requested=some_requests, waits=st.booleans())
    def create(self, place: int, who: int, requested: RequestedGrant, waits: bool) -> None:  # noqa: FBT001
        maker, actor = self.actor(who)
        grant = self.grant_for(maker, requested)
        may = self.may_write(maker) and grant is not None
        manager = self.ring(place).manager
        if waits:
            record = self.attempt(manager.create_unclaimed_key(actor, name="x", requested=requested), may=may)
            secrets = []
        else:
            made = self.attempt(manager.create_key(actor, name="x", requested=requested), may=may)
            record, secrets = (made[0], [Secret(made[1])]) if isinstance(made, tuple) else (None, [])
        if record is not None and grant is not None:
            offer = Offer(self.clock.now + CLAIM_LIFE, None) if waits else None
            self.keys.append(Key(record.key_id, maker, grant, secrets, offer))  # type: ignore[attr-defined]

    @rule(place=a_place, who=a_place, which=a_place)
    @precondition(lambda self: any(key.offer for key in self.keys))
    def claim(self, place: int, who: int, which: int) -> None:
        offered = [key for key in self.keys if key.offer]
        (actor, doer), key, now = self.actor(who), offered[which % len(offered)], self.clock.now
        offer = key.offer
        first = not key.secrets
        may = (
            offer is not None
            and offer.lapses_at > now
            and self.may_have(actor, key)
            and replace(key, secrets=key.secrets or [Secret]).is_good(now)  # type: ignore[list-item]
            and not (first and key.maker is not None and key.maker.revoked)
            and (offer.overlap is None or self.may_pass_on(actor, key))
            and not (offer.overlap and len(key.live_secrets(now)) > 1)
        )
        found = self.ring(place).manager.claim_key(doer, key_id=key.key_id, claimed_from=None)
        made = self.attempt(found, may=may)
        if isinstance(made, tuple) and offer is not None:
            self.take(key, made[1], offer.overlap or timedelta(0))
            key.offer = None

    @rule(place=a_place, who=a_place, which=a_place, hours=st.sampled_from(HOURS), waits=st.booleans())
    def rotate(self, place: int, who: int, which: int, hours: float, waits: bool) -> None:  # noqa: FBT001
        (actor, doer), key, now = self.actor(who), self.key(which), self.clock.now
        may = self.may_pass_on(actor, key) and key.is_good(now) and len(key.live_secrets(now)) == 1
        manager = self.ring(place).manager
        if waits:
            offered = manager.offer_rotation(doer, key_id=key.key_id, overlap_hours=hours)
            if self.attempt(offered, may=may) is not None:
                key.offer = Offer(now + CLAIM_LIFE, timedelta(hours=hours))
            return
        made = self.attempt(manager.rotate_key(doer, key_id=key.key_id, overlap_hours=hours), may=may)
        if isinstance(made, tuple):
            self.take(key, made[1], timedelta(hours=hours))

    def take(self, key: Key, new: ApiKey, overlap: timedelta) -> None:
        before = [secret.plaintext for secret in key.secrets]
        key.take(new, overlap, self.clock.now)
        kept = [secret.plaintext for secret in key.secrets]
        self.spent += [secret for secret in before if secret not in kept]

    @rule(place=a_place, who=a_place, which=a_place, requested=some_requests)
    def update(self, place: int, who: int, which: int, requested: RequestedGrant) -> None:
        (actor, doer), key = self.actor(who), self.key(which)
        grant = Grant(
            key.grant.scopes if requested.scopes is None else requested.scopes & key.grant.scopes,
            key.grant.aliases if requested.aliases is None else requested.aliases,
            key.grant.expires_at if requested.expires_in_days is None else requested.end(self.clock.now),
            key.grant.tools if requested.tools is None else requested.tools,
        )
        asked = replace(requested, scopes=None if requested.scopes is None else grant.scopes)
        may = self.may_write(actor) and not key.revoked and key.grant.covers(grant)
        updated = self.ring(place).manager.update_key(doer, key_id=key.key_id, requested=asked)
        if self.attempt(updated, may=may) is not None:
            key.grant = grant
            for other in self.keys:
                if other.has_maker(key) and not other.revoked:
                    other.grant = other.grant if grant.covers(other.grant) else other.grant.meet(grant)

    @rule(place=a_place, who=a_place, which=a_place)
    def disable(self, place: int, who: int, which: int) -> None:
        (actor, doer), key = self.actor(who), self.key(which)
        may = self.may_write(actor) and not key.revoked
        if self.attempt(self.ring(place).manager.disable_key(doer, key_id=key.key_id), may=may) is not None:
            key.disabled = True

    @rule(place=a_place, who=a_place)
    @precondition(lambda self: any(key.disabled for key in self.keys))
    def enable(self, place: int, who: int) -> None:
        key = next(key for key in self.keys if key.disabled)
        actor, doer = self.actor(who)
        may = self.may_pass_on(actor, key) and not key.revoked
        if self.attempt(self.ring(place).manager.enable_key(doer, key_id=key.key_id), may=may) is not None:
            key.disabled = False

    @rule(place=a_place, who=a_place, which=a_place, cascade=st.booleans())
    def revoke(self, place: int, who: int, which: int, cascade: bool) -> None:  # noqa: FBT001
        (actor, doer), key, manager = self.actor(who), self.key(which), self.ring(place).manager
        itself = actor is key and not cascade
        ending = manager.revoke_with_descendants if cascade else manager.revoke_key
        may = itself or self.may_write(actor)
        if self.attempt(ending(doer, key_id=key.key_id, reason=None), may=may) is not None:
            for other in self.keys:
                other.revoked = other.revoked or other is key or (cascade and other.has_maker(key))

    @rule(minutes=st.sampled_from((1, 15, 60, 24 * 60)))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule(seconds=st.sampled_from((1, 90)))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.advance(seconds=-seconds)

    @rule()
    def one_is_closed_and_opened_again(self) -> None:
        self.rings.pop(0)
        self.runner.run(self.opened.pop(0).aclose())
        self.open()
        self.runner.run(self.rings[1].administration.verify_events())

    # What must hold.

    @invariant()
    def what_opens_is_what_the_model_says(self) -> None:
        now = self.clock.now
        for key in self.keys:
            live = key.live_secrets(now)
            for secret in key.secrets:
                opens = self.runner.run(self.verified(secret.plaintext))
                good = key.is_good(now) and secret in live
                assert opens == (Principal("ada", key.key_id, key.grant) if good else None)
        for spent in self.spent:
            assert self.runner.run(self.verified(spent)) is None

    async def verified(self, secret: ApiKey) -> Principal | None:
        try:
            one = await self.rings[0].verifier.verify(secret.reveal())
        except InvalidApiKeyError:
            one = None
        try:
            other = await self.rings[1].verifier.verify(secret.reveal())
        except InvalidApiKeyError:
            other = None
        assert one == other
        return one

    @invariant()
    def what_is_kept_keeps_the_rules(self) -> None:
        if not self.rings:
            return
        now = self.clock.now
        kept = self.runner.run(self.rings[1].administration.list_keys("ada", include_ended=True))
        live = {key.key_id: key for key in kept if key.revoked_at is None}
        assert {key.key_id for key in self.keys} == {key.key_id for key in kept}
        for key in live.values():
            maker = live.get(key.parent_key_id or "")
            assert maker is None or maker.grant.covers(key.grant)
            assert len(key.live_secrets(now)) <= 2
            assert len([secret for secret in key.secrets if secret.ends_at is None]) <= 1


def test_whatever_is_done_in_whatever_order_what_holds_is_what_should(kind: str) -> None:
    class LifeInOneKind(LifeOfKeys):
        KIND = kind

    run_state_machine_as_test(
        LifeInOneKind,
        settings=settings(
            max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
