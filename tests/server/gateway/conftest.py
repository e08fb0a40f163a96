import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.gateway.served import Served, served
from tests.world import World

PROGRAM = [sys.executable, str(Path(__file__).with_name("programs") / "sample_program.py")]


@pytest.fixture
async def sample(sqlite_world: World, tmp_path: Path) -> AsyncIterator[Served]:
    """The sample program, in the later era behind ``sample``, and behind ``old`` as one that knows the other alone."""
    upstreams: dict[str, dict[str, object]] = {
        "sample": {
            "command": [*PROGRAM, "{user_id}"],
            "env": {"NOTES": "{data_dir}/{user_id}/notes"},
            "protocol": "2026-07-28",
        },
        "old": {"command": [*PROGRAM, "legacy"]},
    }
    async with served(sqlite_world, tmp_path / "upstreams", upstreams) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_messages_of_the_client_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    # The tests' own, which logs all that it sends, and is made to send keys where they do not belong.
    caplog.set_level(logging.INFO, "mcp.client.streamable_http")
