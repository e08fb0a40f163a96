"""``serve`` as a process of its own."""

import http.client
import json
import re
import shlex
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from mcp_keys_server.server.http_service import listen
from tests.conftest import KEY
from tests.databases import Database
from tests.running_server import ADA, PROGRAM, RunningServer, environment, run, running_server

pytestmark = pytest.mark.long

FORM = "application/x-www-form-urlencoded"


def ask(server: RunningServer, key: str, tool: str = "whoami", **arguments: object) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    return httpx2.post(server.endpoint(), json=body, headers={"X-API-Key": key, "accept": "application/json"})


def test_the_first_user_gets_a_key_that_opens_the_printed_endpoint(database: Database) -> None:
    with running_server(database, *ADA) as server:
        assert f"endpoint  {server.endpoint()}" in server.printed
        assert ask(server, server.first_key).json()["result"]["structuredContent"]["user_id"] == "ada"
        assert server.stop() == 0
        assert server.first_key not in server.log.read_text()


def test_a_server_on_postgresql_says_at_its_start_what_a_proof_secret_would_give(
    database: Database, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("ab" * 32)
    said = "Restarts      forget which keys bcrypt has proven; with proof_secret_file it runs once for each key\n"
    with running_server(database) as server:
        assert server.printed.count(said) == (kind == "postgres")
    with running_server(database, MCP_KEYS_PROOF_SECRET_FILE=str(path)) as server:
        assert said not in server.printed
    with running_server(database, MCP_KEYS_PROOF_SECRET="ab" * 32) as server:
        assert said not in server.printed
        assert "ab" * 8 not in server.printed + server.log.read_text()


def test_what_is_printed_can_be_pasted(database: Database) -> None:
    with running_server(database, *ADA) as server:
        blocks = server.printed.split("\n\n")
        remote, local = (json.loads(block.partition("\n")[2]) for block in blocks if "mcpServers" in block)
        remote_entry, local_entry = remote["mcpServers"]["keys"], local["mcpServers"]["keys-local"]
        assert remote_entry["args"][2] == server.endpoint()
        assert remote_entry["env"]["AUTH_HEADER"] == f"Bearer {server.first_key}"
        assert Path(local_entry["command"]).is_absolute()
        initialize = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        }
        spoken = subprocess.run(
            [local_entry["command"], *local_entry["args"]],
            input=json.dumps(initialize) + "\n",
            env=environment(**local_entry["env"]),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(spoken.stdout)["result"]["serverInfo"]["title"] == "MCP Keys"
        commands = [block.partition("\n")[2] for block in blocks if block.startswith(("Claude Code", "MCP Inspector"))]
        for command in commands:
            assert f"Authorization: Bearer {server.first_key}" in shlex.split(command)


def test_a_second_start_makes_no_second_first_user(database: Database) -> None:
    with running_server(database, *ADA) as server:
        key = server.first_key
    with running_server(database, "--first-user", "eve", "--print-key") as again:
        assert not KEY.search(again.printed)
        assert "so nobody was invited. For another user: mcp-keys-server users invite USER_ID" in again.printed
        assert ask(again, key).status_code == 200
    assert [
        user["user_id"] for user in json.loads(run("users", "list", "--json", "--database", str(database)).stdout)
    ] == ["ada"]


def test_the_first_user_may_be_a_setting(database: Database) -> None:
    with running_server(database, MCP_KEYS_FIRST_USER="ada", MCP_KEYS_PRINT_KEY="true") as server:
        assert ask(server, server.first_key).status_code == 200


def test_a_start_on_nothing_invites_the_first_user(database: Database) -> None:
    with running_server(database, MCP_KEYS_PUBLIC_URL="https://keys.example.com", LOGNAME="Ada.Lovelace") as server:
        pass
    assert "Endpoints     https://keys.example.com/u/USER_ID/keys/mcp\n" in server.printed
    assert "Pages         https://keys.example.com/keys/\n" in server.printed
    assert "The first user is adalovelace (--first-user NAME for another)" in server.printed
    assert re.search(r"^  https://keys.example.com/keys/invitation/\S{43}$", server.printed, re.MULTILINE)
    assert not KEY.search(server.printed)


def test_an_account_whose_name_can_be_no_user_id_is_me(database: Database) -> None:
    with running_server(database, LOGNAME="Ω") as server:
        assert "The first user is me " in server.printed


def test_an_invitation_that_was_not_used_is_replaced_at_the_next_start(database: Database) -> None:
    links = []
    for arguments in (("--first-user", "ada"), (), ()):
        with running_server(database, *arguments) as server:
            assert "The first user is ada " in server.printed
            links.append(server.invitation)
            statuses = [httpx2.get(f"{server.base_url}{urlsplit(link).path}").status_code for link in links]
            assert statuses == [410] * (len(links) - 1) + [200]


def test_an_invitation_becomes_the_first_key(database: Database) -> None:
    with running_server(database, "--first-user", "ada") as server:
        shown = httpx2.post(
            server.invitation, headers={"Sec-Fetch-Site": "same-origin", "Content-Type": FORM}, content=b""
        )
        key = KEY.search(shown.text)
        assert key
        assert ask(server, key[0]).json()["result"]["structuredContent"]["user_id"] == "ada"
        server.stop()
        assert urlsplit(server.invitation).path.rpartition("/")[2] not in server.log.read_text()


def test_keys_made_and_revoked_on_the_command_line_count_at_once(database: Database) -> None:
    at = ("--database", str(database))
    with running_server(database) as server:
        assert run("users", "add", "ada", *at).returncode == 0
        key = json.loads(run("keys", "create", "--user", "ada", "--name", "x", "--json", *at).stdout)
        assert ask(server, key["key"]).status_code == 200
        assert run("keys", "revoke", key["key_id"], *at).returncode == 0
        assert ask(server, key["key"]).status_code == 401


def test_two_servers_on_one_database_refuse_what_either_has_revoked(database: Database) -> None:
    inline = {"MCP_KEYS_SECRET_DELIVERY": "inline"}
    with running_server(database, *ADA, **inline) as one, running_server(database, **inline) as other:
        for revoking, asked in ((one, other), (other, one)):
            created = ask(revoking, one.first_key, "create_key", name="x").json()["result"]["structuredContent"]
            assert ask(asked, created["key"]).status_code == 200
            ask(revoking, one.first_key, "revoke_key", key_id=created["key_id"])
            assert ask(asked, created["key"]).status_code == 401


def test_an_accepted_request_is_logged_at_debug_only(database: Database) -> None:
    with running_server(database, *ADA) as server:
        ask(server, server.first_key)
        ask(server, "forged")
        server.stop()
        assert [line.split(" ", 4)[4] for line in server.log.read_text().splitlines()] == [
            "refused: malformed client=127.0.0.1"
        ]
    with running_server(database, MCP_KEYS_LOG_LEVEL="debug") as verbose:
        ask(verbose, server.first_key)
        verbose.stop()
        assert "accepted: key_id=key_" in verbose.log.read_text()
        assert not KEY.search(verbose.log.read_text())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_graceful_and_soon_with_requests_half_sent(database: Database, how: signal.Signals) -> None:
    with running_server(database, *ADA) as server:
        address = urlsplit(server.base_url)
        assert address.hostname
        ask(server, server.first_key)
        half_sent = http.client.HTTPConnection(address.hostname, address.port)
        half_sent.putrequest("POST", urlsplit(server.endpoint()).path)
        for name, value in (
            ("X-API-Key", server.first_key),
            ("Content-Type", "application/json"),
            ("Content-Length", "99"),
        ):
            half_sent.putheader(name, value)
        half_sent.endheaders(b'{"jsonrpc":')
        with socket.create_connection((address.hostname, address.port)) as silent:
            silent.send(b"POST /u/ada")
            begun = time.monotonic()
            server.process.send_signal(how)
            assert server.process.wait(20) == 0
            # The promise that an operator's service manager counts on; the wait is many times as long.
            assert time.monotonic() - begun < 10
        half_sent.close()
    # What was used is written down, and no log is left to be taken over by the next start.
    assert database.sql("SELECT use_count FROM keys")[0][0] >= 1
    assert database.files() == database.files_at_rest()


def test_a_taken_port_is_a_sentence(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", str(taken.getsockname()[1]), "--database", str(database))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mcp-keys-server: cannot listen on 127.0.0.1 port ")
    assert "--port" in done.stderr


def test_an_address_that_is_not_ours_is_a_sentence(database: Database) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid", "no..host"):
        done = run("serve", "--host", host, "--port", "0", "--database", str(database))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on {host}" in done.stderr
        assert "Traceback" not in done.stderr


def test_both_names_of_the_program_are_installed() -> None:
    program = Path(PROGRAM[0])
    for name in ("mcp-keys-server", "mcp-keys"):
        done = subprocess.run([program.with_name(name), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("mcp-keys-server, version")


def test_white_space_around_a_header_is_no_part_of_it(database: Database) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    with running_server(database, *ADA) as server:
        address = urlsplit(server.base_url)
        headers = {
            "Host": "localhost",
            "X-API-Key": server.first_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = [f"{name}: \t {value} \t\r\n" for name, value in headers.items()]
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"POST /u/ada/keys/mcp HTTP/1.1\r\n{''.join(lines)}\r\n{body}".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200


def send(server: RunningServer, request: bytes) -> bytes:
    """The first of what is answered to these bytes, or nothing where the connection is just ended."""
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        try:
            connection.sendall(request)
            return connection.recv(1_000)
        except ConnectionError:
            return b""


def test_what_comes_before_a_body_has_a_limit(database: Database) -> None:
    with running_server(database) as server:
        start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        many = start + b"".join(b"a: b\r\n" for _ in range(40_000)) + b"\r\n"
        for too_much in (start + b"x: " + b"y" * 10_000_000, b"GET /" + b"y" * 10_000_000, many, many * 10):
            answer = send(server, too_much)
            assert answer[:13] in (b"", b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")
        assert send(server, start + b"x: " + b"y" * 20_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_who_a_client_says_that_it_is_does_not_count(database: Database) -> None:
    with running_server(database) as server:
        httpx2.post(server.endpoint(), headers={"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"})
        server.stop()
        assert "refused: no key client=127.0.0.1" in server.log.read_text()


def test_an_upgrade_to_a_websocket_is_no_event(database: Database) -> None:
    with running_server(database) as server:
        httpx2.get(server.endpoint(), headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        server.stop()
        assert "WARNING" not in server.log.read_text()


def test_the_second_half_of_an_answer_does_not_wait_for_the_first() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_first_key_that_cannot_be_printed_is_revoked(database: Database) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*PROGRAM, "serve", "--port", "0", *ADA, "--database", str(database)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert done.returncode == 1
    assert done.stderr == "mcp-keys-server: standard input or output cannot be used: No space left on device\n"


def test_what_comes_before_a_body_may_come_in_parts(database: Database) -> None:
    with running_server(database) as server:
        address = urlsplit(server.base_url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            for part in (b"GET /healthz HTTP/1.1\r\nHost: loc", b"alhost\r\nx: y", b"y\r\n"):
                connection.sendall(part)
                # Answered after the part has been read: the server reads what comes in the order in which it comes.
                assert httpx2.get(f"{server.base_url}/healthz").status_code == 200
            connection.sendall(b"\r\n")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")


def test_links_lead_to_where_it_was_served_last(database: Database) -> None:
    at = ("--database", str(database))
    with running_server(database) as server:
        invited = json.loads(run("users", "invite", "eve", "--json", *at).stdout)["url"]
        assert httpx2.get(invited).status_code == 200
    assert run("config", "claude-code", "--user", "eve", *at).stdout.count(f"{server.base_url}/u/eve/keys/mcp") == 1
    elsewhere = run("users", "invite", "eve", "--public-url", "https://keys.example.com", *at).stdout
    assert "  https://keys.example.com/keys/invitation/" in elsewhere


def test_a_stop_at_the_very_moment_of_the_start_is_obeyed(database: Database) -> None:
    with running_server(database, *ADA) as server:
        assert server.stop() == 0
