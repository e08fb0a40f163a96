"""``upstreams``: what runs, what can be used, and tools that are accepted as they are."""

import json
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from mcp_keys_server import open_key_ring
from mcp_keys_server.server.gateway.control import FOLDER
from tests.cli.runs import Run
from tests.cli.upstream_files import call, configuration, small
from tests.databases import Database
from tests.running_server import ADA, running_server
from tests.running_server import run as run_process

pytestmark = pytest.mark.long

SECRET = "hunter2hunter2"


def test_each_upstream_is_tried_and_what_is_wrong_is_a_sentence_without_secrets(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/mcp?x={SECRET}"
    upstreams: dict[str, dict[str, object]] = {
        "small": small(SECRET, allow=["loo*", "create_*", "nothing_*"]),
        "crashing": small("crashing", SECRET),
        "missing": {"command": ["no-such-program", SECRET]},
        "private": {"url": nowhere},
        "silent": {"command": [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], "start_seconds": 0.5},
        "nobody": {"url": nowhere, "allow_private": True},
        "unsendable": {"url": "http://127.0.0.1/", "headers": {"X-A": f"{SECRET}\u2026"}, "allow_private": True},
    }
    done = run_process("upstreams", "check", "--json", "--config", str(configuration(tmp_path, upstreams)))
    assert done.returncode == 1
    found = {row["alias"]: row for row in json.loads(done.stdout)}
    assert found["small"] == {
        "alias": "small",
        "usable": True,
        "error": None,
        "server": "small 1",
        "protocol": "2025-11-25",
        "tools": 1,
        "resources": 1,
        "prompts": None,
        "idle_patterns": ["nothing_*"],
        "reserved_tools": ["create_key"],
        "changed_tools": [],
    }
    errors = {alias: row["error"] for alias, row in found.items() if row["error"]}
    assert errors["crashing"] == "it ended with exit code 7"
    assert errors["missing"].startswith("the program 'no-such-program', or what runs it, was not found; ")
    assert errors["private"].startswith("127.0.0.1 is not a public address; ")
    assert errors["silent"] == "it did not answer within 0.5 s of its start"
    assert errors["nobody"] == "All connection attempts failed"
    assert errors["unsendable"] == "its address or a header for it, as configured, cannot be sent"
    assert len(errors) == 6
    assert SECRET not in done.stdout + done.stderr
    assert "small_upstream is there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "up").glob("*/check"))


def test_nothing_that_an_upstream_says_moves_the_cursor(tmp_path: Path) -> None:
    upstreams = {"small": small("hostile"), "other": small()}
    done = run_process("upstreams", "check", "small", "--config", str(configuration(tmp_path, upstreams)))
    assert done.returncode == 0
    head, line = done.stdout.splitlines()
    assert head.split() == ["ALIAS", "USABLE", "SERVER", "PROTOCOL", "TOOLS", "RESOURCES", "PROMPTS", "REMARKS"]
    assert line.split(maxsplit=8) == [
        "small",
        "yes",
        r"small\x1b[2J\u202e",
        "1",
        "2025-11-25",
        "1",
        "1",
        "-",
        "left out, because ours have these names: create_key",
    ]


def test_the_folder_of_whoever_is_named_is_kept(tmp_path: Path) -> None:
    config = configuration(tmp_path, {"small": small()})
    for _ in range(2):
        assert run_process("upstreams", "check", "--user", "ada", "--config", str(config)).returncode == 0
        kept = tmp_path / "up" / "small" / "ada"
        if kept.exists():
            (kept / "mine").touch()
    assert (tmp_path / "up" / "small" / "ada" / "mine").exists()


def test_a_server_somewhere_else_is_tried_with_its_headers(database: Database, tmp_path: Path) -> None:
    with running_server(database, *ADA) as server:
        url = server.endpoint()
        upstreams = {
            "ours": {"url": url, "headers": {"X-API-Key": server.first_key}, "allow_private": True},
            "refusing": {"url": f"{url}?x={SECRET}", "allow_private": True},
        }
        done = run_process("upstreams", "check", "--json", "--config", str(configuration(tmp_path, upstreams)))
        assert server.first_key not in done.stdout + done.stderr
    ours, refusing = json.loads(done.stdout)
    assert (ours["usable"], ours["tools"], ours["protocol"]) == (True, 0, "2026-07-28")
    assert "whoami" in ours["reserved_tools"]
    assert not refusing["usable"]
    assert SECRET not in done.stdout + done.stderr


def test_a_tool_that_has_changed_is_shown_until_it_is_accepted(run: Run, database: Database, tmp_path: Path) -> None:
    async def pin() -> None:
        async with open_key_ring(str(database), bcrypt_cost=4) as ring:
            await ring.tool_pins.pin("small", {"look": "0" * 64, "create_key": "0" * 64}, datetime.now(UTC))

    anyio.run(pin)
    config = str(configuration(tmp_path, {"small": small()}))
    at = ("--database", str(database), "--config", config)
    done = run_process("upstreams", "check", *at)
    assert done.returncode == 0
    assert "not what they were when first seen: look\n" in done.stdout
    accepted = run("upstreams", "accept", "small", "--config", config)
    assert (accepted.code, accepted.err) == (0, "")
    assert accepted.out.startswith("What 2 tools of 'small' looked like is forgotten. ")
    assert "first seen" not in run_process("upstreams", "check", *at).stdout
    again = run("upstreams", "accept", "small", "--config", config)
    assert again.out == "There was nothing to forget: no tool of 'small' has been seen yet.\n"


def test_only_what_uses_an_upstream_needs_the_variables_that_it_names(run: Run, tmp_path: Path) -> None:
    tickets = {"url": "https://tickets.example/mcp", "headers": {"Authorization": "Bearer ${NO_SUCH}"}}
    config = ("--config", str(configuration(tmp_path, {"small": small(), "tickets": tickets})))
    assert run("users", "add", "ada", *config).code == 0
    assert run("upstreams", "list", *config).code == 0
    assert run_process("upstreams", "check", "small", *config).returncode == 0
    said = "upstreams.tickets.headers.Authorization: ${NO_SUCH}: there is no such variable in the environment of this "
    for command in (("upstreams", "check"), ("serve",)):
        refused = run(*command, *config)
        assert (refused.code, refused.out) == (2, "")
        assert said in refused.err


def test_without_upstreams_or_with_another_alias_there_is_a_sentence(run: Run, tmp_path: Path) -> None:
    for command in (("list",), ("check",), ("accept", "small")):
        done = run("upstreams", *command)
        assert (done.code, done.out) == (2, "")
        assert "there are no upstreams; name the file that describes them: --config FILE" in done.err
    config = ("--config", str(configuration(tmp_path, {"small": small(), "other": small()})))
    for command in (("check", "x"), ("accept", "x")):
        done = run("upstreams", *command, *config)
        assert (done.code, done.out) == (2, "")
        assert "upstreams: this alias is none of them; there are: small, other" in done.err
    assert run("upstreams", "check", "--user", "../x", *config).code == 2


def test_what_runs_is_listed_with_what_became_of_it(run: Run, database: Database, tmp_path: Path) -> None:
    config = ("--config", str(configuration(tmp_path, {"small": small(), "crashing": small("crashing")})))
    assert run("upstreams", "list", *config).out.startswith("No server that has upstreams runs here, with /")
    with running_server(database, *ADA, *config) as server:
        assert run("upstreams", "list", *config).out == "Nobody has used an upstream since the server began.\n"
        pid = int(call(server))
        (row,) = run("upstreams", "list", "--json", *config).json
        assert (row["alias"], row["user_id"], row["state"], row["pid"]) == ("small", "ada", "running", pid)
        assert row["calls"] >= 1
        assert (row["open_calls"], row["errors"], row["last_error"]) == (0, 0, None)
        assert row["longest_ms"] >= row["mean_ms"] >= 0
        assert row["last_used_at"].endswith("Z")
        listed = run("upstreams", "list", *config)
        assert (listed.code, listed.err) == (0, "")
        assert listed.out.splitlines()[0].split()[:4] == ["ALIAS", "USER_ID", "STATE", "PID"]
        server.process.send_signal(signal.SIGSTOP)
        silent = run("upstreams", "list", *config)
        assert silent.err == f"The server with pid {server.process.pid} did not answer.\n"
        server.process.send_signal(signal.SIGCONT)
        server.process.kill()
        server.process.wait()
        assert (tmp_path / "up" / FOLDER / f"{server.process.pid}.sock").exists()
        assert run("upstreams", "list", "--json", *config).json == []
        assert not (tmp_path / "up" / FOLDER / f"{server.process.pid}.sock").exists()
        os.kill(pid, signal.SIGKILL)


def test_an_error_that_was_an_upstreams_is_listed_without_what_would_move_the_cursor(
    run: Run, sqlite_database: Database, tmp_path: Path
) -> None:
    config = ("--config", str(configuration(tmp_path, {"crashing": {"command": ["no-such\u202eprogram"]}})))
    with running_server(sqlite_database, *ADA, *config) as server:
        with pytest.raises(BaseException):  # noqa: B017, PT011 - however the SDK tells of it
            call(server, "crashing")
        (row,) = run("upstreams", "list", "--json", *config).json
        assert row["state"] == "failed"
        assert "was not found" in row["last_error"]
        assert "\u202e" not in run("upstreams", "list", *config).out
