"""Users of a key ring who make, claim, use, rotate and revoke keys until the power is lost below it."""

import random
from typing import Final, TypeVar

from mcp_keys_server import InvalidApiKeyError, KeyRing, RequestedGrant
from mcp_keys_server.core.records import Person
from tests.faults.history import History
from tests.faults.losing_disk import LosingDisk

TURNS_EACH: Final = 20
"""After so many the power goes in any case."""

Answer = TypeVar("Answer")


class NobodyHearsError(Exception):
    """The answer came after the power had gone."""


class RingUser:
    """Does one thing after the other."""

    def __init__(
        self, disk: LosingDisk, ring: KeyRing, person: Person, history: History, chance: random.Random
    ) -> None:
        self._disk = disk
        self._ring = ring
        self._person = person
        self._history = history
        self._chance = chance

    async def live(self) -> None:
        try:
            for _ in range(TURNS_EACH):
                await self._take_turn()
        except NobodyHearsError:
            self._history.unknown += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, without power it is no wonder
            self._history.unknown += 1
            if self._disk.has_power:
                self._history.failures.add(f"{error!r}")

    async def _take_turn(self) -> None:
        history, manager = self._history, self._ring.manager
        key_id, plaintext = await self._new_key()
        await self._use(plaintext)
        if self._chance.random() < 0.3:
            history.perhaps_replaced.add(plaintext)
            _, key = self._heard(await manager.rotate_key(self._person, key_id=key_id, overlap_hours=0))
            history.replaced.add(plaintext)
            history.handed_over[key.reveal()] = key_id
            await self._use(plaintext)
            plaintext = key.reveal()
            await self._use(plaintext)
        if self._chance.random() < 0.8:
            history.perhaps_revoked.add(key_id)
            self._heard(await manager.revoke_key(self._person, key_id=key_id, reason=None))
            history.revoked.add(key_id)
            await self._use(plaintext)

    async def _new_key(self) -> tuple[str, str]:
        history, manager, name = self._history, self._ring.manager, f"{self._chance.random()}"
        if self._chance.random() < 0.5:
            history.good_at_once.add(name)
            made, key = self._heard(await manager.create_key(self._person, name=name, requested=RequestedGrant()))
            history.created.add(made.key_id)
        else:
            made = self._heard(await manager.create_unclaimed_key(self._person, name=name, requested=RequestedGrant()))
            history.created.add(made.key_id)
            _, key = self._heard(await manager.claim_key(self._person, key_id=made.key_id, claimed_from=None))
        history.handed_over[key.reveal()] = made.key_id
        return made.key_id, key.reveal()

    async def _use(self, plaintext: str) -> None:
        try:
            await self._ring.verifier.verify(plaintext)
            accepted = True
        except InvalidApiKeyError:
            accepted = False
        self._heard(None)
        self._history.note_use(plaintext, accepted=accepted)

    def _heard(self, answer: Answer) -> Answer:
        if not self._disk.has_power:
            raise NobodyHearsError
        self._history.acknowledged += 1
        return answer
