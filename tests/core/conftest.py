from collections.abc import Callable

import bcrypt
import pytest


@pytest.fixture
def bcrypt_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each call of bcrypt from now on; the calls are the real ones."""
    calls: list[str] = []

    def count(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        return counted

    monkeypatch.setattr(bcrypt, "checkpw", count("checkpw", bcrypt.checkpw))
    monkeypatch.setattr(bcrypt, "hashpw", count("hashpw", bcrypt.hashpw))
    return calls
