import copy
import pickle

import pytest

from mcp_keys_server import InvalidFieldError
from mcp_keys_server.stores.postgres.url import PostgresUrl, is_url

PASSWORD = "hunter2%23"
FULL = f"postgresql://ada:{PASSWORD}@db.example.com:5433/keys?sslmode=verify-full&schema=ours&sslrootcert=/etc/ca.pem"


def test_the_driver_gets_all_of_it_but_the_schema() -> None:
    url = PostgresUrl(FULL)
    assert url.schema == "ours"
    assert url.reveal() == (
        f"postgresql://ada:{PASSWORD}@db.example.com:5433/keys?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
    )
    assert PostgresUrl("postgres://h/d").reveal() == "postgres://h/d"
    assert PostgresUrl("postgres://h/d").schema == "mcp_keys"
    for text in ("postgresql://a,b:5433/d", "postgresql://u:a%2Fb%40@[::1]:5432,h/d"):
        assert PostgresUrl(text).reveal() == text
    assert PostgresUrl("postgresql:///d?host=/run").reveal() == "postgresql:/d?host=%2Frun"


def test_each_of_its_hosts_is_asked_for_itself() -> None:
    url = PostgresUrl(f"postgresql://ada:{PASSWORD}@a,[::1]:5433,b:1/keys?sslmode=require&schema=ours")
    assert url.reveal_each() == [
        f"postgresql://ada:{PASSWORD}@{host}/keys?sslmode=require" for host in ("a", "[::1]:5433", "b:1")
    ]
    for text in (
        "postgresql:/d",
        "postgres://h/d",
        "postgresql:/d?host=a%2Cb",
        "postgresql://a,b/d?port=1%2C2",
        "postgresql://a,b/d?host=c",
    ):
        assert PostgresUrl(text).reveal_each() == [text]


@pytest.mark.parametrize("show", [str, repr, "{0}".format, "{0!r}".format], ids=["str", "repr", "format", "format r"])
def test_whatever_prints_it_leaves_the_password_out(show: object) -> None:
    assert callable(show)
    for text in (FULL, f"postgresql://db/keys?password={PASSWORD}&user=ada"):
        shown = show(PostgresUrl(text))
        assert "hunter2" not in shown
        assert "/keys" in shown
    assert str(PostgresUrl(FULL)) == "postgresql://ada@db.example.com:5433/keys?schema=ours"


@pytest.mark.parametrize("give_away", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_neither_copied_nor_pickled(give_away: object) -> None:
    assert callable(give_away)
    with pytest.raises(TypeError, match="never pickled or copied"):
        give_away(PostgresUrl(FULL))


def test_what_a_sign_in_a_password_is_written_as_is_said() -> None:
    with pytest.raises(InvalidFieldError, match="in a password, %23 stands for '#'"):
        PostgresUrl("postgresql://u:hunter2#3@h/d")


def test_two_are_the_same_when_they_lead_to_the_same_place() -> None:
    assert PostgresUrl("postgres://h/d") == PostgresUrl("postgres://h/d?schema=mcp_keys")
    assert len({PostgresUrl("postgres://h/d"), PostgresUrl("postgres://h/d"), PostgresUrl("postgres://h/e")}) == 2
    assert PostgresUrl("postgres://h/d") != "postgres://h/d"


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:hunter2@h/d",
        "postgresql://[h/d",
        "postgresql://u:hunter2#3@h/d",
        "postgresql://u:hunter2/3@h/d",
        "postgresql://u:12/hunter2@h/d",
        "postgresql://u:hunter2?x=3@h/d",
        "postgresql://u:12?x=hunter2@h/d",
        "postgresql://u:a@hunter2/3@h/d",
        "postgresql://u:hunter2/3",
        "postgresql://u@h/d?schema",
        "postgresql://u@h/d?schema=",
        "postgresql://u@h/d?schema=Ours",
        "postgresql://u@h/d?schema=a-b",
        "postgresql://u@h/d?schema=pg_temp",
        'postgresql://u@h/d?schema=a"',
        f"postgresql://u@h/d?schema={'a' * 56}",
        "postgresql://u@h/d?application_name=hunter2\udcff",
    ],
)
def test_what_is_no_such_url_is_refused_without_an_echo(text: str) -> None:
    with pytest.raises(
        InvalidFieldError, match=r"^database: (a URL such as|its schema|the path of a file, or)"
    ) as refused:
        PostgresUrl(text)
    assert "hunter2" not in str(refused.value)


def test_urls_are_told_from_paths_by_their_beginning() -> None:
    for url in ("postgresql://h/d", "POSTGRES://h/d", "postgresql+asyncpg://h/d", "sqlite:///d", "postgresql:/u:p@h/d"):
        assert is_url(url)
    for path in ("keys.db", "/var/keys.db", "c:/keys.db", "/a://b", "./postgres:/x", "postgresql", "://x", ""):
        assert not is_url(path)
