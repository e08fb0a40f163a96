from pathlib import Path

import pytest

from mcp_keys_server.cli.configuration import load_settings
from mcp_keys_server.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MCP_KEYS_{name.upper()}", raising=False)


def a_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mcp-keys.toml"
    path.write_text(text)
    return path


def test_without_any_choice_there_are_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings()
    assert (settings.host, settings.port, settings.bcrypt_cost, settings.key_tag) == ("127.0.0.1", 8000, 12, "mhu_")
    assert (settings.secret_delivery, settings.log_level, settings.public_url) == (None, "info", None)
    assert settings.database == tmp_path / "mcp-keys-server" / "keys.db"


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = a_file(tmp_path, 'port = 1\nhost = "file"\nkey_tag = "file_"')
    monkeypatch.setenv("MCP_KEYS_PORT", "2")
    monkeypatch.setenv("MCP_KEYS_HOST", "environment")
    settings = load_settings(config=config, port=3, host=None)
    assert (settings.port, settings.host, settings.key_tag) == (3, "environment", "file_")


def test_lists_are_separated_by_commas_or_spaces_or_are_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCP_KEYS_ALLOWED_HOSTS", "a.example, b.example:* c.example")
    settings = load_settings(config=a_file(tmp_path, 'allowed_origins = ["https://a.example", "https://b.example"]'))
    assert settings.allowed_hosts == ("a.example", "b.example:*", "c.example")
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def test_a_public_url_has_one_spelling() -> None:
    assert load_settings(public_url="HTTPS://Keys.Example.com:8443/").public_url == "https://keys.example.com:8443"
    assert load_settings(public_url="http://[::1]:8000").public_url == "http://[::1]:8000"


def test_a_level_is_one_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_KEYS_LOG_LEVEL", "DEBUG")
    assert load_settings().log_level == "debug"


def test_a_path_is_made_absolute_from_home_or_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_settings(database=Path("~/x.db")).database == tmp_path / "x.db"
    assert load_settings(database=Path("x.db")).database == tmp_path / "x.db"


BAD: dict[str, tuple[str, str, str]] = {
    "a port of words": ("PORT", "Hunter2", "port .*MCP_KEYS_PORT.*integer"),
    "a port too high": ("PORT", "70000", "port .*65535"),
    "a cost too high": ("BCRYPT_COST", "31", "bcrypt_cost .*16"),
    "a delivery there is not": ("SECRET_DELIVERY", "Hunter2", "secret_delivery .*'inline'"),
    "a level there is not": ("LOG_LEVEL", "Hunter2", "log_level .*'debug'"),
    "a tag": ("KEY_TAG", "Hunter2", "key_tag .*lower-case"),
    "a URL with a path": ("PUBLIC_URL", "https://keys.example.com/Hunter2", "public_url .*no path"),
    "a URL with a password": ("PUBLIC_URL", "https://ada:Hunter2@keys.example.com", "public_url .*no path"),
    "a URL with a fragment": ("PUBLIC_URL", "https://keys.example.com#Hunter2", "public_url .*no path"),
    "a URL with a port too high": ("PUBLIC_URL", "https://keys.example.com:999999", "public_url .*a port"),
    "a URL with a colon and no port": ("PUBLIC_URL", "https://keys.example.com:", "public_url .*a port"),
    "a URL with a space": ("PUBLIC_URL", "https://keys.example.com Hunter2", "public_url .*a host"),
    "hosts that are none": ("ALLOWED_HOSTS", "https://Hunter2/", "allowed_hosts .*host names"),
    "every host": ("ALLOWED_HOSTS", "*", "allowed_hosts .*host names"),
    "origins that are none": ("ALLOWED_ORIGINS", "Hunter2", "allowed_origins .*https://"),
    "no host": ("HOST", "", "host .*at least 1"),
    "no database": ("DATABASE", "", "database .*the path of a file"),
    "a database of another kind": (
        "DATABASE",
        "postgresql+asyncpg://u:Hunter2@h/d",
        "database .*starts with postgresql://",
    ),
    "a mistyped database": ("DATABASE", "postgress://ada:Hunter2@h/d", "database .*postgresql://"),
    "a database with a slash in its password": ("DATABASE", "postgresql://ada:Hunter2/3@h/d", "database .*%2F"),
    "the home of nobody": ("DATABASE", "~nosuchuser/Hunter2", "database .*home of a user"),
    "a URL of another scheme": ("PUBLIC_URL", "ftp://Hunter2", "public_url .*https://"),
    "no URL": ("PUBLIC_URL", "Hunter2", "public_url .*https://"),
    "a life of none": ("DEFAULT_EXPIRY_DAYS", "0", "default_expiry_days .*from a second to 3650 days"),
    "a life of less than a second": ("MAX_EXPIRY_DAYS", "1e-300", "max_expiry_days .*from a second to 3650 days"),
    "a life of words": ("MAX_EXPIRY_DAYS", "Hunter2", "max_expiry_days .*number"),
    "a life too long": ("MAX_EXPIRY_DAYS", "3651", "max_expiry_days .*3650"),
    "a life that is no number": ("MAX_EXPIRY_DAYS", "nan", "max_expiry_days .*3650"),
    "no keys at all": ("MAX_LIVE_KEYS_PER_USER", "0", "max_live_keys_per_user .*1"),
    "half a key": ("MAX_LIVE_KEYS_PER_USER", "1.5", "max_live_keys_per_user .*integer"),
    "a storage there is not": ("RATE_LIMIT_STORAGE", "memcached://Hunter2", "rate_limit_storage .*redis://"),
    "a storage without a host": ("RATE_LIMIT_STORAGE", "redis://:Hunter2@", "rate_limit_storage .*redis://"),
    "a storage in a folder": ("RATE_LIMIT_STORAGE", "redis://x/Hunter2", "rate_limit_storage .*number of a database"),
    "half a proof secret": ("PROOF_SECRET", "Hunter2", "proof_secret .*MCP_KEYS_PROOF_SECRET.*: 64 hexadecimal digits"),
    "a proof secret of other letters": ("PROOF_SECRET", "Hunter2" + "x" * 57, "proof_secret .*64 hexadecimal digits"),
    "a first user": ("FIRST_USER", "Hunter2", "first_user .*a-z 0-9"),
}


@pytest.mark.parametrize(("name", "value", "rule"), BAD.values(), ids=BAD)
def test_a_bad_setting_is_named_with_its_rule_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(f"MCP_KEYS_{name}", value)
    with pytest.raises(SettingsError, match=rule) as refused:
        load_settings()
    assert "Hunter2" not in str(refused.value)
    monkeypatch.delenv(f"MCP_KEYS_{name}")
    with pytest.raises(SettingsError, match=rule) as refused:
        load_settings(config=a_file(tmp_path, f"{name.lower()} = '{value}'"))
    assert "Hunter2" not in str(refused.value)


def test_no_default_is_longer_than_what_is_allowed() -> None:
    settings = load_settings(default_expiry_days=30, max_expiry_days=30, max_live_keys_per_user=5)
    assert (settings.default_expiry_days, settings.max_expiry_days, settings.max_live_keys_per_user) == (30, 30, 5)
    with pytest.raises(SettingsError, match="^default_expiry_days: no key may live longer than max_expiry_days$"):
        load_settings(default_expiry_days=31, max_expiry_days=30)


def test_a_proof_secret_is_given_once_and_printed_never(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCP_KEYS_PROOF_SECRET", "ab" * 32)
    settings = load_settings()
    assert settings.proof_secret is not None
    assert settings.proof_secret.get_secret_value() == b"\xab" * 32
    for shown in (repr(settings), str(settings), settings.model_dump_json(include={"proof_secret"})):
        assert "proof_secret" in shown
        assert "ab" * 8 not in shown
        assert "\\xab" not in shown
    with pytest.raises(SettingsError, match="^proof_secret: proof_secret_file is set too; leave one of them out$"):
        load_settings(config=a_file(tmp_path, "proof_secret_file = '/run/secrets/proof'"))


def test_an_unknown_setting_is_named_wherever_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="prot is no setting") as refused:
        load_settings(config=a_file(tmp_path, 'prot = "Hunter2"'))
    assert "Hunter2" not in str(refused.value)
    with pytest.raises(SettingsError, match=r"^a\\x1b\[31m is no setting$"):
        load_settings(config=a_file(tmp_path, r'"a\u001b[31m" = 1'))
    monkeypatch.setenv("MCP_KEYS_PROT", "Hunter2")
    with pytest.raises(SettingsError, match="MCP_KEYS_PROT .*is no setting.*MCP_KEYS_PORT") as refused:
        load_settings()
    assert "Hunter2" not in str(refused.value)


def test_several_bad_settings_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)port.*; .*bcrypt_cost"):
        load_settings(config=a_file(tmp_path, "port = -1\nbcrypt_cost = 99"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config: .* is not a file"):
        load_settings(config=tmp_path / "nothing.toml")
    with pytest.raises(SettingsError, match="--config: .* is not TOML: .*line 2"):
        load_settings(config=a_file(tmp_path, "port = 1\nHunter2 4\n"))
    if Path("/proc/self/mem").is_file():  # which nobody can read from its beginning
        with pytest.raises(SettingsError, match="--config: /proc/self/mem cannot be read: "):
            load_settings(config=Path("/proc/self/mem"))
    with pytest.raises(SettingsError, match="--config: .* is not TOML"):
        load_settings(config=a_file(tmp_path, "a = " + "[" * 5_000))
    with pytest.raises(SettingsError, match="--config: .* is not TOML"):
        load_settings(config=a_file(tmp_path, "port = " + "9" * 5_000))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\0")
    with pytest.raises(SettingsError, match="--config: .* is not TOML"):
        load_settings(config=binary)
