"""Limits that hold for several servers at once; see tests/core/test_counters.py for those in the database."""

from pathlib import Path

from tests.cli.test_serve import ask
from tests.databases import Database
from tests.running_server import ADA, running_server
from tests.stores.redis_server import needs_redis_server, redis_server

MOST = 60
LIMIT = {"MCP_KEYS_CALLS_PER_MINUTE": str(MOST)}


@needs_redis_server
def test_in_redis_not_one_call_too_many_is_let_through(database: Database, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "Hunter2") as redis:
        shared = LIMIT | {"MCP_KEYS_RATE_LIMIT_STORAGE": f"redis://:Hunter2@127.0.0.1:{redis.port}/1"}
        with running_server(database, *ADA, **shared) as one, running_server(database, **shared) as other:
            answers = [ask(server, one.first_key) for server in (one, other) * (MOST // 2)]
            assert {answer.status_code for answer in answers} == {200}
            for server in (one, other):
                refused = ask(server, one.first_key)
                assert refused.status_code == 429
                assert 0 < int(refused.headers["retry-after"]) <= 60
            redis.kill()
            assert ask(other, one.first_key).status_code == 200
        for server in (one, other):
            assert "Hunter2" not in server.log.read_text() + server.printed


@needs_redis_server
def test_several_workers_count_in_redis_together(database: Database, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        storage = {"MCP_KEYS_RATE_LIMIT_STORAGE": f"redis://127.0.0.1:{redis.port}"}
        with running_server(database, "--workers", "2", *ADA, **LIMIT, **storage) as server:
            answers = [ask(server, server.first_key) for _ in range(MOST + 10)]
        assert [answer.status_code for answer in answers] == [200] * MOST + [429] * 10
