"""The tables ``[upstreams.ALIAS]`` of a configuration file."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.setting_rules import is_root
from mcp_keys_server.settings import Settings, SettingsError
from mcp_keys_server.upstreams import ProgramUpstream, RemoteUpstream, Upstream

SECRET = "Hunter2"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MCP_KEYS_{name.upper()}", raising=False)


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "mcp-keys.toml"
    path.write_text(text)
    return load_settings(config=path)


def notes(tmp_path: Path, text: str) -> Upstream:
    """The upstream that these fields describe."""
    return loaded(tmp_path, f"[upstreams.notes]\n{text}").upstreams["notes"]


def a_program(tmp_path: Path, text: str = "") -> ProgramUpstream:
    upstream = notes(tmp_path, text if "command" in text else f'command = ["notes"]\n{text}')
    assert isinstance(upstream, ProgramUpstream)
    return upstream


def a_server(tmp_path: Path, text: str = "") -> RemoteUpstream:
    upstream = notes(tmp_path, text if "url" in text else f'url = "https://notes.example/mcp"\n{text}')
    assert isinstance(upstream, RemoteUpstream)
    return upstream


def test_each_place_is_filled_with_what_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_TOKEN", "{user_id}")
    program = a_program(
        tmp_path,
        """command = ["notes", "--for={user_id}@{alias}", "{data_dir}/x", '{"a": {"b": "$HOME"}}', "$TOKEN", "{}"]""",
    )
    fields = {"user_id": "ada", "alias": "notes", "data_dir": "/d"}
    assert [part.filled(**fields) for part in program.command] == [
        "notes",
        "--for=ada@notes",
        "/d/x",
        '{"a": {"b": "$HOME"}}',
        "$TOKEN",
        "{}",
    ]
    server = a_server(
        tmp_path,
        'url = "https://notes.example/{user_id}/mcp"\nheaders = { Authorization = "Bearer ${NOTES_TOKEN}!{key_id}" }',
    )
    of_request = {"user_id": "ada", "alias": "notes", "key_id": "key_1"}
    assert server.url.filled(**of_request) == "https://notes.example/ada/mcp"
    # What is in a variable is text, whatever it looks like.
    assert server.headers["Authorization"].filled(**of_request) == "Bearer {user_id}!key_1"


def test_a_program_is_told_what_its_table_says_and_where_programs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "TZ"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    fields = {"user_id": "ada", "alias": "notes", "data_dir": "/d"}
    program = a_program(tmp_path, 'env = { FILE = "{data_dir}/{user_id}/notes.json" }')
    assert program.environment("/w", **fields) == {
        "PATH": "/bin",
        "TZ": "UTC",
        "HOME": "/w",
        "TMPDIR": "/w",
        "FILE": "/d/ada/notes.json",
    }
    program = a_program(tmp_path, 'env = { HOME = "/h", PATH = "/p" }')
    environment = program.environment("/w", **fields)
    assert (environment["HOME"], environment["PATH"], environment["TMPDIR"]) == ("/h", "/p", "/w")


def test_what_may_be_a_secret_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_TOKEN", SECRET)
    for settings in (
        loaded(tmp_path, '[upstreams.notes]\ncommand = ["x", "${NOTES_TOKEN}"]\nenv = { A = "Hunter2" }'),
        loaded(tmp_path, '[upstreams.notes]\nurl = "https://x.example/Hunter2"\nheaders = { A = "${NOTES_TOKEN}" }'),
    ):
        assert SECRET not in f"{settings!r}{settings}{settings.upstreams!r}"


def test_two_are_the_same_when_all_of_them_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_TOKEN", "one")
    text = 'headers = { A = "${NOTES_TOKEN} {user_id}" }'
    one = a_server(tmp_path, text)
    assert one == a_server(tmp_path, text)
    assert hash(one.headers["A"]) == hash(a_server(tmp_path, text).headers["A"])
    monkeypatch.setenv("NOTES_TOKEN", "two")
    assert one != a_server(tmp_path, text)
    assert one.headers["A"] != "one "


def test_without_any_choice_there_are_defaults(tmp_path: Path) -> None:
    program, server = a_program(tmp_path), a_server(tmp_path)
    for upstream in (program, server):
        assert (upstream.allow, upstream.required_scopes, upstream.pin_descriptions) == (None, frozenset(), False)
        assert (upstream.calls_at_once, upstream.call_seconds) == (32, 300)
    assert (program.start_seconds, program.idle_seconds, program.max_processes) == (60, 600, 100)
    assert (program.max_memory_mb, program.max_line_mb) == (1024, 4)
    assert (dict(server.headers), server.allow_private) == ({}, False)
    assert load_settings().upstreams == {}


def test_what_is_chosen_is_taken(tmp_path: Path) -> None:
    server = a_server(
        tmp_path,
        'allow = ["tickets_*", "whoami"]\nrequired_scopes = ["tickets:read"]\nallow_private = true\ncalls_at_once = 1',
    )
    assert server.allow == ("tickets_*", "whoami")
    assert server.required_scopes == {"tickets:read"}
    assert (server.allow_private, server.calls_at_once) == (True, 1)


def test_a_variable_that_is_not_set_is_missed_where_it_stands(tmp_path: Path) -> None:
    text = 'command = ["x", "y ${NO_A}"]\nenv = { A = "${NO_B}${PATH}", B = "b" }'
    assert list(a_program(tmp_path, text).missing_variables()) == [("command.1", "NO_A"), ("env.A", "NO_B")]
    text = 'url = "${NO_C}/mcp"\nheaders = { A = "${NO_D} ${NO_E}" }'
    missed = [("url", "NO_C"), ("headers.A", "NO_D"), ("headers.A", "NO_E")]
    assert list(notes(tmp_path, text).missing_variables()) == missed


PROGRAM, SERVER = 'command = ["notes"]\n', 'url = "https://notes.example/mcp"\n'
REFUSED: Mapping[str, tuple[str, str]] = {
    "nothing": ("", "give either 'command', for a program on this machine, or 'url'"),
    "both": (PROGRAM + SERVER, "give either 'command', for a program on this machine, or 'url'"),
    "an empty command": ("command = []", "command: Tuple should have at least 1 item"),
    "a command in one string": ('command = "npx Hunter2"', "command: a list, in brackets"),
    "a field of the other kind": (PROGRAM + "allow_private = true", "allow_private: there is no such field"),
    "a field there is not": (SERVER + "urll = 'Hunter2'", "urll: there is no such field"),
    "a place there is not": ('command = ["x", "{key_id}"]', "command.1: {key_id} is none of the fields"),
    "a place of programs": ('url = "https://x.example/{data_dir}"', "url: {data_dir} is none of the fields"),
    "a name of no variable": (PROGRAM + 'env = { "A-B" = "Hunter2" }', "env: names of environment variables"),
    "another scheme": ('url = "ftp://notes.example/"', "url: an address that starts with http:// or https://"),
    "no address": ('url = "Hunter2"', "url: an address that starts with http:// or https://"),
    "no host": ('url = "https:///mcp"', "url: an address that starts with http:// or https://"),
    "a password": ('url = "https://ada:Hunter2@notes.example/"', "url: an address that starts with http"),
    "a port too high": ('url = "https://notes.example:99999/"', "url: this is no address"),
    "a bracket": ('url = "https://[notes/"', "url: this is no address"),
    "a fragment": ('url = "https://notes.example/#Hunter2"', "url: an address without '#'"),
    "a line break at the end of a header": (
        'url = "https://x.example/"\nheaders = { X-Key = "Bearer Hunter2\\n" }',
        "headers.X-Key: a value without line breaks and other control characters, at its end too",
    ),
    "two headers in one": (
        'url = "https://x.example/"\nheaders = { X-Key = "Hunter2\\r\\nX-Other: {user_id}" }',
        "headers.X-Key: a value without line breaks",
    ),
    "an argument with NUL": ('command = ["x", "Hunter2\\u0000"]', "command.1: text without the character NUL"),
    "a variable with NUL": ('command = ["x"]\nenv = { A = "Hunter2\\u0000" }', "env.A: text without the character NUL"),
    "a host of the user's": ('url = "https://{user_id}.example/"', "url: fields may stand in the path only"),
    "no header": (SERVER + 'headers = { "a b" = "Hunter2" }', "headers: names of HTTP headers"),
    "a header of the gateway's": (SERVER + 'headers = { Host = "Hunter2" }', "headers: Host is set by the gateway"),
    "a header of MCP": (SERVER + 'headers = { Mcp-Session-Id = "x" }', "headers: Mcp-Session-Id is set by the gateway"),
    "a header twice": (SERVER + 'headers = { X-A = "1", x-a = "2" }', "headers: each header once"),
    "a pattern of no tool": (PROGRAM + 'allow = ["a b"]', "allow.0: String should match pattern"),
    "a scope of no scope": (PROGRAM + 'required_scopes = ["Hunter2"]', "required_scopes: "),
    "no calls": (PROGRAM + "calls_at_once = 0", "calls_at_once: Input should be greater than or equal to 1"),
    "no time": (PROGRAM + "call_seconds = 0", "call_seconds: Input should be greater than 0"),
    "too little memory": (PROGRAM + "max_memory_mb = 1", "max_memory_mb: Input should be greater than or equal to 16"),
}


@pytest.mark.parametrize(("text", "rule"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_named_with_its_rule_and_not_its_value(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        notes(tmp_path, text)
    assert str(refused.value).startswith(f"upstreams.notes{'' if rule.startswith('give') else '.'}")
    assert rule in str(refused.value)
    assert SECRET not in str(refused.value)


def test_an_alias_is_one_by_its_rule_and_not_where_keys_are_managed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="^upstreams: the alias of each is 1 to 64 of 'a-z 0-9 _ -'"):
        loaded(tmp_path, f"[upstreams.Notes]\n{PROGRAM}")
    with pytest.raises(SettingsError, match="^upstreams.keys: this alias is where keys are managed; take another name"):
        loaded(tmp_path, f"[upstreams.keys]\n{PROGRAM}")


def test_upstreams_are_tables_and_stand_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^upstreams: they are tables of the configuration file"):
        loaded(tmp_path, 'upstreams = "Hunter2"')
    with pytest.raises(SettingsError, match=r"^upstreams.notes: give either 'command'"):
        loaded(tmp_path, 'upstreams = { notes = "Hunter2" }')
    monkeypatch.setenv("MCP_KEYS_UPSTREAMS", '{"notes": {"command": ["Hunter2"]}}')
    with pytest.raises(SettingsError, match=r"^upstreams: they are tables of the configuration file"):
        load_settings()


def test_what_is_described_already_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"[upstreams.notes]\n{SERVER}")
    assert Settings(upstreams=settings.upstreams).upstreams == settings.upstreams


@pytest.mark.parametrize("uids", ["", "0-5", "5-4", "1-4294967295", "a-b", "5", "root"])
def test_user_ids_of_programs_are_a_range_without_root(monkeypatch: pytest.MonkeyPatch, uids: str) -> None:
    monkeypatch.setenv("MCP_KEYS_UPSTREAM_UIDS", uids)
    with pytest.raises(SettingsError, match="^upstream_uids .*FIRST-LAST, two user ids, neither of them 0, or 'none'$"):
        load_settings()


def test_only_root_has_user_ids_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    for root, chosen in ((0, range(61_184, 65_520)), (1000, None)):
        monkeypatch.setattr(os, "geteuid", lambda root=root: root)
        assert is_root() == (root == 0)
        assert load_settings().upstream_uids == chosen
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("MCP_KEYS_UPSTREAM_UIDS", "5-7")
    assert load_settings().upstream_uids == range(5, 8)
    monkeypatch.setenv("MCP_KEYS_UPSTREAM_UIDS", "none")
    assert load_settings().upstream_uids is None


def test_the_folder_of_programs_is_where_its_user_may_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_settings().upstream_data_dir == tmp_path / "mcp-keys-server" / "upstreams"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_settings().upstream_data_dir == Path("/var/lib/mcp-keys-server/upstreams")
    monkeypatch.setenv("MCP_KEYS_UPSTREAM_DATA_DIR", "~nosuchuser/x")
    with pytest.raises(SettingsError, match="^upstream_data_dir .*home of a user who does not exist$"):
        load_settings()
