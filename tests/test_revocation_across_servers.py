import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.databases import Database
from tests.running_server import ADA, SECONDS_TO_STOP, RunningServer, running_server
from tests.world import open_world

pytestmark = pytest.mark.anyio
KEYS = 250
CONNECTIONS = 4
REQUESTS_EACH = 10
UNLIMITED = {"MCP_KEYS_CALLS_PER_MINUTE": "1000000", "MCP_KEYS_FAILURES_PER_MINUTE": "1000000"}


class Connection:
    """One that is kept open, so that a request is on its way at once."""

    def __init__(self, server: RunningServer) -> None:
        url = urlsplit(server.endpoint())
        assert url.hostname
        self._path = url.path
        self._http = http.client.HTTPConnection(url.hostname, url.port, timeout=SECONDS_TO_STOP)

    def call(self, key: str, tool: str = "whoami", **arguments: str) -> int:
        """The status of the answer, all of which has arrived."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = {"X-API-Key": key, "Accept": "application/json", "Content-Type": "application/json"}
        self._http.request("POST", self._path, json.dumps(body), headers)
        answer = self._http.getresponse()
        said = json.loads(answer.read())
        assert answer.status != 200 or not said["result"].get("isError")
        return answer.status

    def call_often(self, key: str) -> list[int]:
        return [self.call(key) for _ in range(REQUESTS_EACH)]

    def close(self) -> None:
        self._http.close()


async def test_no_server_accepts_a_key_after_another_has_answered_that_it_is_revoked(database: Database) -> None:
    """10,000 requests, each of which begins when the answer to the revocation has arrived from the other server: of
    these none is accepted, though the key was accepted right before."""
    with running_server(database, *ADA, **UNLIMITED) as one, running_server(database, **UNLIMITED) as other:
        async with open_world(database) as world:
            made = [await world.key() for _ in range(KEYS)]
        with ExitStack() as stack:
            several = [[Connection(server) for _ in range(CONNECTIONS)] for server in (one, other)]
            for connection in (*several[0], *several[1]):
                stack.callback(connection.close)
            threads = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
            statuses = []
            for number, (record, key) in enumerate(made):
                told, asked = several if number % 2 else reversed(several)
                plaintext = key.reveal()
                assert asked[0].call(plaintext) == 200
                assert told[0].call(one.first_key, "revoke_key", key_id=record.key_id) == 200
                late = [threads.submit(connection.call_often, plaintext) for connection in asked]
                statuses += [status for answers in late for status in answers.result()]
        assert statuses == [401] * 10_000
