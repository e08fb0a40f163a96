from pathlib import Path

import pytest

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks.start import compiled_in, first_answer, our_environment
from tests.running_server import PROGRAM


def test_a_program_that_was_started_once_finds_its_modules_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environ = our_environment(tmp_path / "keys.db", CHEAPEST_COST) | compiled_in(tmp_path / "compiled")
    first_answer([*PROGRAM, "stdio"], environ)()
    compiled = {module.name.partition(".")[0] for module in (tmp_path / "compiled").rglob("*.pyc")}
    assert {"tool_server", "key_tools", "jsonrpc"} <= compiled
