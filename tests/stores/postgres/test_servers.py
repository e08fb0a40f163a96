"""Servers with TLS, with passwords, in a pair with a standby, and one that forgets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_keys_server import RequestedGrant, UnusableDatabaseError, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.certificate import write_certificate
from tests.postgres_server import PostgresServer, a_postgres_server, a_standby, needs_postgres_programs

pytestmark = [pytest.mark.anyio, needs_postgres_programs]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with a_postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def authority(server: PostgresServer) -> Path:
    """The certificate of the server, which is its own authority; from now on it has TLS."""
    certificate = write_certificate(server.folder / "data" / "server.pem")
    server.own(certificate)
    server.configure(ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(certificate))
    server.let_in("hostssl all tls 127.0.0.1/32 trust", "host all postgres 127.0.0.1/32 trust")
    server.restart()
    return certificate


async def works(url: str) -> None:
    async with open_key_ring(url, bcrypt_cost=CHEAPEST_COST) as ring:
        await ring.administration.find_or_add_user("ada", email=None, name=None)
        _, key = await ring.administration.create_key("ada", name="x", requested=RequestedGrant())
        await ring.verifier.verify(key.reveal())


async def refused(url: str, sentence: str) -> None:
    with pytest.raises(UnusableDatabaseError, match=sentence) as told:
        await works(url)
    assert "hunter2" not in str(told.value)


async def test_a_connection_is_as_safe_as_its_url_says(server: PostgresServer, authority: Path) -> None:
    server.sql("CREATE ROLE tls LOGIN SUPERUSER")
    url = server.url(user="tls").replace("127.0.0.1", "localhost")
    await works(f"{url}?sslmode=verify-full&sslrootcert={authority}&schema=tls")
    await refused(f"{url}?sslmode=disable", "pg_hba.conf")
    for mode in ("verify-ca", "verify-full"):
        await refused(f"{url}?sslmode={mode}&sslrootcert=/etc/hostname", "cannot be used: .*")
    by_address = server.url(user="tls")
    await refused(f"{by_address}?sslmode=verify-full&sslrootcert={authority}", "see sslmode and sslrootcert")


async def test_a_wrong_password_is_a_sentence_without_it(server: PostgresServer) -> None:
    server.sql("CREATE ROLE careful LOGIN SUPERUSER PASSWORD 'right'")
    server.let_in("host all careful 127.0.0.1/32 scram-sha-256", "host all postgres 127.0.0.1/32 trust")
    server.restart()
    await works(server.url(user="careful", password="right", query="?schema=careful"))
    for url in (server.url(user="careful", password="hunter2"), server.url(user="nobody"), server.url(user="careful")):
        await refused(url, r"see the user and the password in the URL, in PGPASSWORD or in ~/\.pgpass, and pg_hba")


async def test_a_server_that_forgets_what_it_has_confirmed_is_refused() -> None:
    with a_postgres_server({"fsync": "off"}) as forgetful:
        await refused(forgetful.url(), "come back to life; set fsync = on in postgresql.conf")


async def test_keys_are_never_read_from_a_standby() -> None:
    with a_postgres_server() as primary:
        await works(primary.url())
        with a_standby(primary) as standby:
            await refused(standby.url(), "name the primary in the URL: keys are never read from a standby")
            both = primary.url().replace("127.0.0.1:", f"127.0.0.1:{standby.port},127.0.0.1:")
            await works(both)
