"""The README's nginx for replicas with programs behind aliases."""

from collections import defaultdict
from pathlib import Path

import httpx2

from tests.embedding.processes import free_port, running
from tests.embedding.proxies import nginx
from tests.embedding.readme_examples import example
from tests.embedding.upstream import upstream

USERS = [f"user{number}" for number in range(20)]


def test_all_requests_of_a_user_come_to_the_same_replica(tmp_path: Path) -> None:
    port = free_port()
    with upstream() as one, upstream() as other:
        addresses = {"10.0.0.11:8000": f"127.0.0.1:{one}", "10.0.0.12:8000": f"127.0.0.1:{other}"}
        round_robin = example("replicas", {"listen 8080": f"listen 127.0.0.1:{port}"})
        by_user = example("by_user", addresses) + round_robin[round_robin.index("server {") :]
        # Each says which of them it is by the header that nginx adds.
        named = by_user.replace("proxy_http_version", "add_header X-Replica $upstream_addr; proxy_http_version")
        with running(nginx(tmp_path, named), tmp_path, port=port):
            seen = defaultdict(set)
            for user in USERS * 3:
                answer = httpx2.get(f"http://127.0.0.1:{port}/u/{user}/notes/mcp")
                seen[user].add(answer.headers["X-Replica"])
            assert all(len(replicas) == 1 for replicas in seen.values())
            assert len(set.union(*seen.values())) == 2
