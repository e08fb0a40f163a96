"""The program run in this process, on a database of its own."""

import io
import sys
from typing import TextIO

import pytest

from mcp_keys_server.cli.program import main
from mcp_keys_server.settings import Settings
from tests.cli.runs import Done, Run
from tests.databases import Database


@pytest.fixture
def run(database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program with its database."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MCP_KEYS_{name.upper()}", raising=False)
    monkeypatch.setenv("MCP_KEYS_DATABASE", str(database))
    monkeypatch.setenv("MCP_KEYS_BCRYPT_COST", "4")

    def run_it(*arguments: str, stdin: str | TextIO = "") -> Done:
        given = io.TextIOWrapper(io.BytesIO(stdin.encode())) if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", given)
        code = main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Done(code, printed.out, printed.err)

    return run_it


@pytest.fixture
def ada(run: Run) -> None:
    assert run("users", "add", "ada", "--email", "Ada@example.com", "--name", "Ada L.").code == 0
