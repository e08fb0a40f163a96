"""Who asks: what they send, and what is known of it, by which the table says what they have to be answered."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from mcp_keys_server import KeyRecord, RequestedGrant
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.grant import KEYS_INTROSPECT, KEYS_READ, KEYS_WRITE
from tests.authorisation.table import SCOPE_OF_TICKETS
from tests.imported_keys import hub_key
from tests.world import World

READ, WRITE = frozenset({KEYS_READ}), frozenset({KEYS_WRITE})
BOTH = READ | WRITE

GRANTS: Mapping[str, RequestedGrant] = {
    "a full key": RequestedGrant(BOTH),
    "a key that reads": RequestedGrant(READ),
    "a key that writes": RequestedGrant(WRITE),
    "a key without scopes": RequestedGrant(frozenset()),
    "a key of another alias": RequestedGrant(BOTH, frozenset({"elsewhere"})),
    "a key of few tools": RequestedGrant(BOTH, tools=frozenset({"keys:whoami", "keys:*_key", "elsewhere:*"})),
    "a key with tickets": RequestedGrant(READ | {SCOPE_OF_TICKETS}),
    "a key that asks about keys": RequestedGrant(frozenset({KEYS_INTROSPECT})),
}
"""Of keys that are good."""


NOTHING = RequestedGrant(frozenset())


class Standing(StrEnum):
    """What the credential of a request is worth, before anything is asked of what the request wants."""

    GOOD = "good"
    BAD = "bad"
    NONE = "none"
    SEVERAL = "several"


@dataclass(frozen=True)
class Caller:
    name: str
    standing: Standing
    headers: tuple[tuple[str, str], ...] = ()
    user: str = ""
    grant: RequestedGrant = NOTHING
    presented: str = ""

    def has(self, scope: str | None) -> bool:
        assert self.grant.scopes is not None
        return scope is None or scope in self.grant.scopes

    def opens(self, alias: str) -> bool:
        return self.grant.aliases is None or alias in self.grant.aliases

    def __str__(self) -> str:
        return self.name


def with_key(name: str, standing: Standing, presented: str, user: str = "", **more: RequestedGrant) -> Caller:
    return Caller(name, standing, (("x-api-key", presented),), user, presented=presented, **more)


async def good_callers(world: World, user: str, *, full_only: bool = False) -> list[Caller]:
    """One with each grant."""
    callers = []
    for name, grant in GRANTS.items():
        if name == "a full key" or not full_only:
            _, key = await world.key(user, grant)
            callers.append(with_key(f"{name} of {user}", Standing.GOOD, key.reveal(), user, grant=grant))
    return callers


async def all_callers(world: World) -> list[Caller]:
    return [*await good_callers(world, "ada"), *await good_callers(world, "bob", full_only=True), *await others(world)]


async def others(world: World) -> list[Caller]:
    """Those who are let in nowhere."""
    _, good = await world.key()
    one, other = good.reveal(), (await world.key())[1].reveal()
    bearer = ("authorization", f"Bearer {one}")
    return [
        *[with_key(name, Standing.BAD, key) for name, key in (await bad_keys(world)).items()],
        Caller("nobody", Standing.NONE),
        Caller("an empty header", Standing.NONE, (("authorization", " "),)),
        Caller("another scheme", Standing.NONE, (("authorization", f"Basic {one}"),)),
        Caller("a cookie", Standing.NONE, (("cookie", f"mcp_keys_session={one}; api_key={one}"),)),
        Caller("a header of another name", Standing.NONE, (("x-user-id", "ada"), ("x-mcp-key", one))),
        Caller("two of the same key", Standing.SEVERAL, (bearer, ("x-api-key", one))),
        Caller("two keys", Standing.SEVERAL, (("x-api-key", one), ("x-api-key", other))),
        Caller("a good and a bad key", Standing.SEVERAL, (bearer, ("x-api-key", "forged"))),
    ]


async def bad_keys(world: World) -> Mapping[str, str]:
    """In all the ways in which a key that looks like one is none."""
    revoked, disabled, replaced, short_lived, rotated = [await world.key() for _ in range(5)]
    administration = world.ring.administration
    await administration.revoke_key(revoked[0].key_id, reason=None)
    await administration.disable_key(disabled[0].key_id)
    await administration.rotate_key(replaced[0].key_id, overlap_hours=0)
    await administration.rotate_key(rotated[0].key_id, overlap_hours=1)
    await administration.update_key(short_lived[0].key_id, requested=RequestedGrant(expires_in_days=1 / 24))
    await administration.add_user("gone")
    _, gone = await world.key("gone")
    await administration.disable_user("gone")
    asking = await world.principal()
    unclaimed = await world.ring.manager.create_unclaimed_key(asking, name="Waits", requested=RequestedGrant())
    world.clock.advance(hours=2)  # which ends two of them, and the claim
    minted = KeyMint(world.ring.checksum_secrets).mint().reveal()
    return {
        "a revoked key": revoked[1].reveal(),
        "a disabled key": disabled[1].reveal(),
        "an expired key": short_lived[1].reveal(),
        "a replaced secret": replaced[1].reveal(),
        "a secret after its overlap": rotated[1].reveal(),
        "a key of a disabled user": gone.reveal(),
        "a key that was never stored": minted,
        "a mistyped key": f"{minted[:-1]}{'A' if minted[-1] != 'A' else 'B'}",
        "an imported one of nobody": hub_key(),
        "the id of a key that nobody claimed": unclaimed.key_id,
        "a word": "forged",
    }


@asynccontextmanager
async def nobody_else_is_touched(world: World, user: str) -> AsyncIterator[None]:
    """Whatever is done meanwhile, nothing of any other user's keys changes."""
    before = await holdings(world, but=user)
    yield
    assert await holdings(world, but=user) == before


async def holdings(world: World, *, of: str | None = None, but: str | None = None) -> list[tuple[object, ...]]:
    """All that is kept of keys, but for when they were used."""
    records = await world.ring.store.list_all_keys(of, include_ended=True, now=world.clock())
    return [_lasting(record) for record in records if record.user_id != but]


def _lasting(key: KeyRecord) -> tuple[object, ...]:
    secrets = [(secret.prefix, secret.ends_at) for secret in key.secrets]
    ended = (key.disabled_at, key.revoked_at, key.revoked_reason, key.revoked_by)
    return key.key_id, key.user_id, key.name, key.grant, key.parent_key_id, secrets, ended, key.claim
