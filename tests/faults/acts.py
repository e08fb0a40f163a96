"""Everything that changes users and keys, each with a user of its own, and how it shows that it is done."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mcp_keys_server import KeyRecord
from mcp_keys_server.core.import_plan import plan
from mcp_keys_server.core.imported_key import ScopeRule, System
from mcp_keys_server.core.importer import Importer
from mcp_keys_server.core.records import Person
from tests.imported_keys import hub_key
from tests.sources import hub_columns
from tests.world import NOTHING_SPECIAL, World


@dataclass(frozen=True)
class Attempt:
    """Something that is about to be done."""

    users: tuple[str, ...]
    act: Callable[[], Awaitable[object]]
    is_done: Callable[[], Awaitable[bool]]
    """All of it."""


Prepare = Callable[[World], Awaitable[Attempt]]


def _new_id() -> str:
    return f"user-{secrets.token_hex(8)}"


async def _user(world: World) -> str:
    return (await world.ring.administration.add_user(_new_id())).user_id


async def _keys(world: World, user: str) -> dict[str, KeyRecord]:
    return {key.key_id: key for key in await world.ring.administration.list_keys(user, include_ended=True)}


async def add_user(world: World) -> Attempt:
    user = _new_id()

    async def is_done() -> bool:
        return await world.ring.store.find_user(user) is not None

    return Attempt((user,), lambda: world.ring.administration.add_user(user), is_done)


async def disable_user(world: World) -> Attempt:
    user = await _user(world)

    async def is_done() -> bool:
        found = await world.ring.store.find_user(user)
        return found is not None and found.disabled_at is not None

    return Attempt((user,), lambda: world.ring.administration.disable_user(user), is_done)


async def create(world: World) -> Attempt:
    user = await _user(world)

    async def is_done() -> bool:
        return any(key.secrets for key in (await _keys(world, user)).values())

    manager = world.ring.manager
    return Attempt((user,), lambda: manager.create_key(Person(user), name="x", requested=NOTHING_SPECIAL), is_done)


async def create_unclaimed(world: World) -> Attempt:
    user = await _user(world)

    async def is_done() -> bool:
        return any(key.claim for key in (await _keys(world, user)).values())

    manager = world.ring.manager
    return Attempt(
        (user,), lambda: manager.create_unclaimed_key(Person(user), name="x", requested=NOTHING_SPECIAL), is_done
    )


async def claim(world: World) -> Attempt:
    user = await _user(world)
    manager = world.ring.manager
    key = await manager.create_unclaimed_key(Person(user), name="x", requested=NOTHING_SPECIAL)

    async def is_done() -> bool:
        return bool((await _keys(world, user))[key.key_id].secrets)

    return Attempt((user,), lambda: manager.claim_key(Person(user), key_id=key.key_id, claimed_from=None), is_done)


async def accept_invitation(world: World) -> Attempt:
    user = await _user(world)
    invited = await world.ring.invitations.invite(user, name="x", requested=NOTHING_SPECIAL)

    async def is_done() -> bool:
        return bool((await _keys(world, user))[invited.key.key_id].secrets)

    return Attempt((user,), lambda: world.ring.invitations.accept(invited.code, claimed_from=None), is_done)


async def disown(world: World) -> Attempt:
    user = await _user(world)
    invited = await world.ring.invitations.invite(user, name="x", requested=NOTHING_SPECIAL)

    async def is_done() -> bool:
        return (await _keys(world, user))[invited.key.key_id].revoked_at is not None

    return Attempt((user,), lambda: world.ring.invitations.disown(invited.code), is_done)


async def rotate(world: World) -> Attempt:
    user = await _user(world)
    key, _ = await world.key(user)

    async def is_done() -> bool:
        return len((await _keys(world, user))[key.key_id].secrets) == 2

    return Attempt((user,), lambda: world.ring.manager.rotate_key(Person(user), key_id=key.key_id), is_done)


async def disable(world: World) -> Attempt:
    user = await _user(world)
    key, _ = await world.key(user)

    async def is_done() -> bool:
        return (await _keys(world, user))[key.key_id].disabled_at is not None

    return Attempt((user,), lambda: world.ring.manager.disable_key(Person(user), key_id=key.key_id), is_done)


async def revoke(world: World) -> Attempt:
    user = await _user(world)
    key, _ = await world.key(user)

    async def is_done() -> bool:
        return (await _keys(world, user))[key.key_id].revoked_at is not None

    manager = world.ring.manager
    return Attempt((user,), lambda: manager.revoke_key(Person(user), key_id=key.key_id, reason=None), is_done)


async def revoke_as_operator(world: World) -> Attempt:
    attempt = await revoke(world)
    (key,) = await _keys(world, attempt.users[0])
    return Attempt(attempt.users, lambda: world.ring.administration.revoke_key(key, reason=None), attempt.is_done)


async def revoke_with_descendants(world: World) -> Attempt:
    user = await _user(world)
    manager = world.ring.manager
    maker, key = await world.key(user)
    principal = await world.ring.verifier.verify(key.reveal())
    await manager.create_key(principal, name="x", requested=NOTHING_SPECIAL)

    async def is_done() -> bool:
        revoked = {found.revoked_at is not None for found in (await _keys(world, user)).values()}
        assert len(revoked) == 1, "one key ended without the other"
        return revoked == {True}

    return Attempt(
        (user,), lambda: manager.revoke_with_descendants(Person(user), key_id=maker.key_id, reason=None), is_done
    )


async def import_keys(world: World) -> Attempt:
    user = _new_id()
    used = (world.clock() - timedelta(days=1)).isoformat()
    rows = [hub_columns(hub_key(), id=f"{number}", user_id=user, last_used=used, use_count=1) for number in range(2)]
    planned = plan(rows, System.HUB, world.clock(), ScopeRule())

    async def is_done() -> bool:
        if await world.ring.store.find_user(user) is None:
            return False
        found = (await _keys(world, user)).values()
        return len(found) == len(rows) and all(key.last_used_at for key in found)

    importer = Importer(world.ring.store, System.HUB, write=True, clock=world.clock)
    return Attempt((user,), lambda: importer.take(planned), is_done)


ACTS: Final[dict[str, Prepare]] = {
    each.__name__.replace("_", " "): each
    for each in (
        add_user,
        disable_user,
        create,
        create_unclaimed,
        claim,
        accept_invitation,
        disown,
        rotate,
        disable,
        revoke,
        revoke_as_operator,
        revoke_with_descendants,
        import_keys,
    )
}
