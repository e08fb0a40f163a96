import getpass

import pytest

from mcp_keys_server.cli.welcome import account


@pytest.mark.parametrize(
    ("name", "user_id"),
    [("ada", "ada"), ("Ada.Lovelace", "adalovelace"), ("_svc-", "svc-"), ("Ω", "me"), ("a" * 99, "a" * 64)],
)
def test_the_first_user_is_called_like_the_account(monkeypatch: pytest.MonkeyPatch, name: str, user_id: str) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: name)
    assert account() == user_id


@pytest.mark.parametrize("trouble", [KeyError, OSError, ImportError])
def test_an_account_without_a_name_is_me(monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]) -> None:
    def nobody() -> str:
        raise trouble

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert account() == "me"
