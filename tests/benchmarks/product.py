"""The program as users run it, and the SDK's server as it comes, with a load generator in front of either."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcp_keys_server import ApiKey
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.client_config import PLACEHOLDER
from tests.benchmarks.child import Child
from tests.benchmarks.keys_at_hand import opened_ring, user_name
from tests.benchmarks.load import Load
from tests.benchmarks.mcp_requests import tool_call
from tests.benchmarks.plain_sdk_server import PATH
from tests.databases import SqliteDatabase
from tests.embedding.processes import free_port, running
from tests.running_server import running_server

PLAIN_SDK: Final = "the SDK's own run(), without authentication"
ANSWER: Final = PLACEHOLDER
"""In what the tool says."""

_TOOL: Final = "client_config"
_ARGUMENTS: Final[Mapping[str, object]] = {"client": "mcp-json", "alias": KEYS_ALIAS}
_ROOT: Final = Path(__file__).parents[2]
_NO_LIMIT: Final = {"MCP_KEYS_CALLS_PER_MINUTE": str(10**9)}


class ProductLoad(Load):
    def calls(self, era: str, keys: Sequence[ApiKey]) -> Sequence[bytes]:
        """One of each user of the benchmark."""
        return [
            self.call(era, endpoint_path(user_name(number), KEYS_ALIAS), key.reveal())
            for number, key in enumerate(keys)
        ]

    def call(self, era: str, path: str, key: str | None) -> bytes:
        return tool_call(era, port=self.port, path=path, key=key, tool=_TOOL, arguments=_ARGUMENTS)


class PlainLoad(ProductLoad):
    def calls(self, era: str, keys: Sequence[ApiKey]) -> Sequence[bytes]:
        """As many, without the keys."""
        return [self.call(era, PATH, None)] * len(keys)


def added_keys(database: Path, count: int) -> Sequence[ApiKey]:
    """At the cheapest cost, because they are warm when they count, or proven without bcrypt."""
    with opened_ring(database, bcrypt_cost=CHEAPEST_COST) as opened:
        return opened.add_keys(count)


@contextmanager
def product(database: Path, generator: Child, *arguments: str) -> Iterator[ProductLoad]:
    """``serve`` with as few settings as there can be, on a database that has keys."""
    with running_server(SqliteDatabase(database), *arguments, **_NO_LIMIT) as server:
        port = int(server.base_url.rpartition(":")[2])
        # Of several processes nobody knows which of them worked.
        processor = None if arguments else processor_time_of(server.process.pid)
        yield ProductLoad(generator, port, processor=processor)


@contextmanager
def plain_sdk(folder: Path, generator: Child) -> Iterator[PlainLoad]:
    """It logs each request, into a file."""
    port = free_port()
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-m", "tests.benchmarks.plain_sdk_server", str(port)]
    with running(command, folder, port=port, environment={"PYTHONPATH": str(_ROOT)}):
        yield PlainLoad(generator, port)


def processor_time_of(process_id: int) -> Callable[[], float] | None:
    """What asks the system how many seconds of processor time the process has had; None: not here."""
    path = Path(f"/proc/{process_id}/schedstat")
    if not path.exists():
        return None
    return lambda: int(path.read_text("ascii").split()[0]) / 1e9
