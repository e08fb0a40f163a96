"""``serve`` with upstreams: SIGHUP, and the end of what it has started."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import httpx2
import pytest

from mcp_keys_server.setting_rules import is_root
from tests.cli.runs import Run
from tests.cli.test_workers import children, is_logged, until
from tests.cli.upstream_files import call, configuration, small
from tests.databases import Database
from tests.running_server import ADA, RunningServer, running_server
from tests.server.gateway.programs.child_programs import is_running

pytestmark = pytest.mark.long

REMOTE: Mapping[str, object] = {"url": "https://tickets.example/mcp", "headers": {"X-A": "hunter2hunter2"}}


def hang_up(server: RunningServer, said: str, times: int = 1) -> None:
    """Send SIGHUP, and wait until this was logged so often in all."""
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.log.read_text().count(said) >= times)


def endpoint_status(server: RunningServer, alias: str) -> int:
    """Of one that is there and one that is not: 405 and 403."""
    return httpx2.put(server.endpoint(alias=alias), headers={"X-API-Key": server.first_key}).status_code


def test_the_start_names_the_aliases_and_says_when_programs_can_read_the_database(
    sqlite_database: Database, tmp_path: Path
) -> None:
    for upstreams, uids, aliases, told in (
        ({"small": small(), "old": REMOTE}, "none", "keys, small, old", True),
        ({"old": REMOTE}, "none", "keys, old", False),
        ({"small": small()}, "61184-65519", "keys, small", not is_root()),
    ):
        config = configuration(tmp_path, upstreams)
        with running_server(sqlite_database, *ADA, "--config", str(config), MCP_KEYS_UPSTREAM_UIDS=uids) as server:
            pass
        assert f"Aliases       {aliases}\n" in server.printed
        assert ("can read the key database" in server.printed) == told


def test_sighup_takes_over_the_upstreams_and_names_what_needs_a_restart(
    sqlite_database: Database, tmp_path: Path
) -> None:
    config = configuration(tmp_path, {"small": small(), "old": REMOTE})
    with running_server(sqlite_database, *ADA, "--config", str(config)) as server:
        before = call(server)
        configuration(tmp_path, {"small": small(), "tickets": REMOTE})
        hang_up(server, "SIGHUP: upstreams that came: tickets; went: old; changed: none")
        until(lambda: endpoint_status(server, "tickets") == 405)
        assert endpoint_status(server, "old") == 403
        assert call(server) == before  # what is as it was goes on undisturbed

        config.write_text(f"{config.read_text()}\nallow = 3\n")
        hang_up(server, "SIGHUP: nothing was taken over: upstreams.tickets.allow: ")
        config.unlink()
        hang_up(server, f"SIGHUP: nothing was taken over: --config: {config} is not a file")
        assert endpoint_status(server, "tickets") == 405

        configuration(tmp_path, {"small": small("changed"), "tickets": REMOTE}, "calls_per_minute = 7", "port = 9")
        hang_up(server, "SIGHUP: upstreams that came: none; went: none; changed: small")
        until(partial(is_logged, server, "SIGHUP: restart to take over: calls_per_minute"))
        until(lambda: not is_running(int(before)))
        assert call(server) != before
        assert server.stop() == 0
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "hunter2hunter2" not in log


def test_sighup_without_a_file_ends_nothing(sqlite_database: Database) -> None:
    with running_server(sqlite_database, *ADA) as server:
        hang_up(server, "SIGHUP: there is nothing to reload; start with --config FILE")
        assert server.stop() == 0


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["as usual", "as nohup does it"])
def started(request: pytest.FixtureRequest) -> Iterator[None]:
    """How what is begun here heeds SIGHUP at first, which it inherits."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("started")
def test_sighup_reaches_all_workers_and_those_that_come_after_them(sqlite_database: Database, tmp_path: Path) -> None:
    config = configuration(tmp_path, {"old": REMOTE})
    came = "SIGHUP: upstreams that came: tickets; went: old; changed: none"
    with running_server(sqlite_database, *ADA, "--workers", "2", "--config", str(config)) as server:
        configuration(tmp_path, {"tickets": REMOTE})
        hang_up(server, came, times=2)
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        until(lambda: server.log.read_text().count(came) == 3)
        configuration(tmp_path, {"small": small()})
        one_process = (
            "SIGHUP: nothing was taken over: upstreams.small: a program is run by one process; set workers to 1"
        )
        hang_up(server, one_process, times=2)
        assert server.stop() == 0


def test_a_program_and_several_workers_do_not_go_together(run: Run, tmp_path: Path) -> None:
    config = configuration(tmp_path, {"tickets": REMOTE, "small": small()})
    done = run("serve", "--port", "0", "--workers", "2", "--config", str(config))
    assert (done.code, done.out) == (2, "")
    said = "upstreams.small: a program is run by one process; set workers to 1, or give this alias a url"
    assert done.err == f"mcp-keys-server: {said}\n"


def test_a_stop_is_soon_and_leaves_nothing_running_however_stubborn_it_is(
    sqlite_database: Database, tmp_path: Path
) -> None:
    config = configuration(tmp_path, {"small": small("stubborn")})
    with running_server(sqlite_database, *ADA, "--config", str(config)) as server:
        pid = int(call(server))
        family = [pid, *children(pid)]
        assert len(family) == 2
        begun = time.monotonic()
        assert server.stop() == 0
        # The promise that an operator's service manager counts on.
        assert time.monotonic() - begun < 10
        assert not any(is_running(each) for each in family)
        assert not list((tmp_path / "up").rglob("*.sock"))
