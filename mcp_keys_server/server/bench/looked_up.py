"""Look-ups in an operator's database, whose keys nobody presents: what a verification reads there, and nothing else."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.core.key_store import KeyStore

_MOST_PREFIXES: Final = 1_000
_ENTRIES: Final = 1_000
_USERS: Final = 100
_NOBODYS: Final = "nobody's"
"""A prefix that no key has."""


class LookedUp:
    """A store in which keys are looked up, one after the other, or a key that there is not where there is none."""

    def __init__(self, store: KeyStore, prefixes: Sequence[str]) -> None:
        self.store = store
        self.prefixes = prefixes
        self._turns = cycle(prefixes or [_NOBODYS])

    async def look_up_next(self) -> None:
        """
        Raises:
            StoreUnavailableError: The store does not answer.
        """
        await self.store.read_secret(next(self._turns))


async def looked_up(store: KeyStore) -> LookedUp:
    """With keys of those who are named in the ledger last, so that little is read of a database that is large.

    Raises:
        StoreUnavailableError: The store does not answer.
    """
    entries = await store.list_events(None, before=2**62, limit=_ENTRIES)
    users = islice(dict.fromkeys(entry.event.user_id for entry in entries), _USERS)
    prefixes: list[str] = []
    for user_id in users:
        keys = await store.list_keys(user_id, include_ended=True, now=utc_now(), after=None, limit=_MOST_PREFIXES)
        prefixes += (key.prefix for key in keys if key.prefix is not None)
    return LookedUp(store, prefixes[:_MOST_PREFIXES])
