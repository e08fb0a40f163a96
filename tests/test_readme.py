"""What the README says is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic.fields import FieldInfo

import mcp_keys_server
from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.cli.program import program
from mcp_keys_server.server.client_config import INSPECTOR, MCP_REMOTE, Client, Endpoint, snippet
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import ProgramUpstream, RemoteUpstream, Upstream
from tests.benchmarks.report import Report
from tests.benchmarks.table import goals_table
from tests.embedding.readme_examples import example
from tests.running_server import environment

ROOT = Path(mcp_keys_server.__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_settings_are_all_in_the_table_and_no_others() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.+) \|$", _section("Settings"), re.MULTILINE)
    assert [(name, text) for name, _, text in rows] == [
        (name, field.description) for name, field in Settings.model_fields.items()
    ]
    defaults = {
        name: default.strip("`") for name, default, _ in rows if not Settings.model_fields[name].default_factory
    }
    for name, default in defaults.items():
        plain = Settings.model_fields[name].default
        assert default == ("none" if plain in (None, (), {}) else str(plain)), name


def _section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_fields_of_upstreams_are_all_in_the_table_and_no_others() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", _section("MCP servers that exist already"), re.MULTILINE
    )
    assert [tuple(row) for row in rows] == [
        (name, of, _default(field), field.description)
        for kind, of in ((Upstream, "both"), (ProgramUpstream, "`command`"), (RemoteUpstream, "`url`"))
        for name, field in kind.model_fields.items()
        if kind is Upstream or name not in Upstream.model_fields
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    return "none" if field.default in (None, frozenset(), {}) else f"`{str(field.default).lower()}`"


def test_the_example_of_upstreams_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_TOKEN", "hunter2")
    path = tmp_path / "mcp-keys.toml"
    path.write_text(example("upstreams", {}))
    settings = load_settings(config=path)
    notes, tickets = settings.upstreams["notes"], settings.upstreams["tickets"]
    assert isinstance(notes, ProgramUpstream)
    assert isinstance(tickets, RemoteUpstream)
    place = {"user_id": "ada", "alias": "notes", "data_dir": "/data/notes"}
    assert notes.environment("/data/notes/ada", **place)["MEMORY_FILE_PATH"] == "/data/notes/ada/memory.json"
    assert tickets.headers["Authorization"].filled(user_id="ada", alias="tickets", key_id="x") == "Bearer hunter2"


def test_the_help_is_what_the_program_prints() -> None:
    shown = README.partition("<!-- help -->\n```\n")[2].partition("```\n<!-- /help -->")[0]
    printed = CliRunner().invoke(program, ["--help"], prog_name="mcp-keys-server", terminal_width=200).output
    assert shown == printed


def test_the_library_is_used_like_this(tmp_path: Path) -> None:
    code = example("library", {})
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"ada True ApiKey\(mhu_.{8}\.\.\.\)\nrevoked\n", done.stdout)


def test_every_example_of_code_is_one_that_is_tried() -> None:
    blocks = re.findall(r"^(?:<!-- (\w+) -->\n)?```(?:python|nginx|caddyfile|yaml)$", README, re.MULTILINE)
    tried = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert blocks
    for name in blocks:
        assert name, "an example of code without a name"
        assert f'"{name}"' in tried, name


def test_the_commands_name_options_that_there_are() -> None:
    for line in re.findall(r"(?:^|\| )mcp-keys-server (.+)$", README, re.MULTILINE):
        words = [word for word in line.split() if re.fullmatch(r"[a-z]+", word)][:2]
        options = re.findall(r"--[a-z-]+", line)
        command = words if words[0] in ("users", "keys", "upstreams", "events", "import", "database") else words[:1]
        printed = CliRunner().invoke(program, [*command, "--help"]).output
        assert printed.startswith("Usage: "), line
        for option in options:
            assert option in printed, line


def test_the_pinned_clients_are_those_that_are_printed_and_tried() -> None:
    for pinned in (MCP_REMOTE, INSPECTOR):
        assert pinned in README
    shown = README.partition("```json\n")[2].partition("```")[0]
    endpoint = Endpoint("https://keys.example.com/u/ada/keys/mcp")
    desktop, code = (snippet(it, endpoint, alias="keys").text for it in (Client.CLAUDE_DESKTOP, Client.CLAUDE_CODE))
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", desktop)
    assert f"\n{code}\n" in README


def test_every_client_is_named() -> None:
    for client in Client:
        assert f"`{client}`" in README


@pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="needs the repository, not only the package")
def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = README.partition("Run the tests:\n\n```sh\n")[2].partition("\n")[0]
    assert command
    assert command in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_goals_are_those_of_the_run_that_was_recorded() -> None:
    recorded = Report.read(ROOT / "tests" / "benchmarks" / "runs" / "all.json")
    shown = README.partition("<!-- goals -->\n")[2].partition("<!-- /goals -->")[0]
    assert shown == goals_table(recorded.rows)
