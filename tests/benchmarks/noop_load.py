"""A noop server with a load generator in front of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks.child import Child, child
from tests.benchmarks.load import Load, processor_time
from tests.benchmarks.mcp_requests import tool_call
from tests.benchmarks.noop_server import AS_IT_IS, Announcement
from tests.benchmarks.rounds import Contestant


class NoopLoad(Load):
    def __init__(self, announced: Announcement, generator: Child, *, waits: bool = False) -> None:
        port = announced["port"]
        super().__init__(generator, port, processor=processor_time(port), waits=waits)
        self._announced = announced

    def calls(self, mount: str, era: str) -> Sequence[bytes]:
        """One of each user, behind this mount."""
        return [
            tool_call(era, port=self._announced["port"], path=f"{mount}/{user_id}/{KEYS_ALIAS}/mcp", key=key)
            for user_id, key in self._announced["keys"].items()
        ]

    def to(self, mount: str, era: str, *, seconds: float) -> Contestant:
        """All users at once, a connection each, behind this mount."""
        return self.contestant(self.calls(mount, era), seconds=seconds)


@contextmanager
def noop_load(
    database: str, generator: Child, *, users: int, cost: int = CHEAPEST_COST, way: str = AS_IT_IS, waits: bool = False
) -> Iterator[NoopLoad]:
    """By default at the cheapest cost, because all keys are proven before the first request that counts."""
    with child("tests.benchmarks.noop_server", database, str(users), str(cost), way) as server:
        yield NoopLoad(server.hear(), generator, waits=waits)
