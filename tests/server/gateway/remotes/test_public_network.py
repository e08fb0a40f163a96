"""Which addresses are connected to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpcore2
import pytest

from mcp_keys_server.core.checksum_secrets import ChecksumSecrets
from mcp_keys_server.server.gateway.remotes.public_network import (
    MOST_ADDRESSES,
    NotReachableError,
    PublicNetwork,
    is_public,
    resolved,
)
from mcp_keys_server.server.gateway.remotes.remote_server import RemoteServer
from mcp_keys_server.server.gateway.seal import Seal
from mcp_keys_server.server.gateway.tool_rules import ToolRules
from mcp_keys_server.server.gateway.usage import UsageBook
from mcp_keys_server.upstreams import RemoteUpstream
from tests.certificate import write_certificate
from tests.server.gateway.remotes.remote_upstreams import (
    ALIAS,
    Gateway,
    KeptPins,
    a_gateway,
    an_upstream,
    pong,
    request,
)

pytestmark = pytest.mark.anyio

NOT_PUBLIC = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),  # noqa: S104
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fec0::1",
    ),
    *("fe80::1%1", "2606:4700::1111%1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::", "100::1", "5f00::1", "localhost", ""),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "192.0.1.1", "2606:4700::1111", "2002:808:808::1", "64:ff9b::8.8.8.8"]
# What a system makes 127.0.0.1, 169.254.169.254 or another of them of, whichever way it is written.
REFUSED_HOSTS = [
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",  # noqa: S104
    ),
    *("00000177.1", "127.000.000.001", "localhost", "LOCALHOST", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:a9fe:a9fe]"),
    *(
        "10.0.0.1",
        "10.1",
        "0xa.1",
        "172.16.0.1",
        "192.168.0.1",
        "192.168.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *("[fd00:ec2::254]", "[ff02::1]", "192.0.2.1", "168.63.129.16", "0300.0250.0.1", "①②⑦.⓪.⓪.①"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_not_everybody_reaches_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_that_everybody_reaches_is_public(address: str) -> None:
    assert is_public(address)


class Wire(httpcore2.AsyncNetworkBackend):
    """Notes what it is to connect to, and connects to one place instead, or to none."""

    def __init__(self, *, port: int | None = None, dead: Iterable[str] = ()) -> None:
        self.connected_to: list[str] = []
        self.shares: list[float | None] = []
        self._instead = port
        self._dead = frozenset(dead)
        self._anyio = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connected_to.append(host)
        self.shares.append(timeout)
        if self._instead is None or host in self._dead:
            raise httpcore2.ConnectError(f"nobody is at {host}")
        return await self._anyio.connect_tcp("127.0.0.1", self._instead, timeout, local_address, socket_options)


def says(*answers: Sequence[str]) -> tuple[list[str], PublicNetwork, Wire]:
    """Names that are one thing when they are first asked for, and another later; with what was asked."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    wire = Wire()
    return asked, PublicNetwork(resolve=resolve, wire=wire), wire


@pytest.mark.parametrize("host", REFUSED_HOSTS)
async def test_no_spelling_of_a_private_address_is_connected_to(host: str) -> None:
    wire = Wire()
    async with an_upstream(pong) as trap:
        port = trap.url.split(":")[2]
        async with a_gateway(f"http://{host}:{port}", allow_private=False, network=PublicNetwork(wire=wire)) as gateway:
            answer = await gateway.ask(request())
        assert (answer.status, answer.said) == (502, "the server behind 'tickets' cannot be reached; try again later")
        assert not wire.connected_to
        assert not trap.connections


async def test_a_private_address_is_refused_as_the_server_comes() -> None:
    async with an_upstream(pong) as trap:
        async with a_gateway(trap, allow_private=False) as gateway:
            assert (await gateway.ask(request())).status == 502
        assert not trap.connections
        async with a_gateway(trap, allow_private=True) as gateway:
            assert (await gateway.ask(request())).status == 200


async def test_the_operator_reads_what_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with a_gateway("http://127.0.0.1:9/mcp", allow_private=False) as gateway:
        await gateway.ask(request())
    assert "127.0.0.1 is not a public address" in caplog.text
    assert "allow_private = true" in caplog.text


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to() -> None:
    asked, network, wire = says(["8.8.8.8"], ["127.0.0.1"])
    with pytest.raises(httpcore2.ConnectError):
        await network.connect_tcp("flips.example", 80)
    assert (asked, wire.connected_to) == (["flips.example"], ["8.8.8.8"])
    with pytest.raises(NotReachableError):
        await network.connect_tcp("flips.example", 80)
    assert wire.connected_to == ["8.8.8.8"]


async def test_a_name_with_one_private_address_is_refused_as_a_whole() -> None:
    for addresses in (["8.8.8.8", "127.0.0.1"], ["::1", "8.8.8.8"], [*["8.8.8.8"] * 20, "10.0.0.1"]):
        _, network, wire = says(addresses)
        with pytest.raises(NotReachableError):
            await network.connect_tcp("both.example", 80)
        assert not wire.connected_to


async def test_a_name_without_an_address_is_refused() -> None:
    _, network, _ = says([])
    with pytest.raises(NotReachableError, match="has no address"):
        await network.connect_tcp("nothing.example", 80)
    for name in ("nobody.invalid", "a" * 64 + ".example", "a..b"):
        with pytest.raises(NotReachableError, match="cannot be resolved"):
            await PublicNetwork().connect_tcp(name, 80)


async def test_a_name_that_is_slow_to_resolve_is_given_up() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(NotReachableError):
        await PublicNetwork(resolve=resolve).connect_tcp("slow.example", 80, 0.01)


async def test_each_address_is_tried_in_turn_with_its_share_of_the_time() -> None:
    addresses = [f"8.8.8.{number}" for number in range(1, 20)]

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    async with an_upstream(pong) as upstream:
        wire = Wire(port=int(upstream.url.split(":")[2].split("/")[0]), dead=addresses[:2])
        stream = await PublicNetwork(resolve=resolve, wire=wire).connect_tcp("many.example", 80, 8.0)
        await stream.aclose()
        assert wire.connected_to == addresses[:3]
        assert wire.shares == [1.0] * 3
        nobody = Wire()
        with pytest.raises(httpcore2.ConnectError):
            await PublicNetwork(resolve=resolve, wire=nobody).connect_tcp("many.example", 80)
        assert nobody.connected_to == addresses[:MOST_ADDRESSES]


async def test_the_system_knows_this_machine() -> None:
    assert set(await resolved("localhost", 80)) <= {"127.0.0.1", "::1"}


@asynccontextmanager
async def a_tls_server(certificate: Path) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Its port, and the names that it was asked for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    named: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: named.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], named


async def test_the_certificate_is_that_of_the_name_not_of_the_address(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "certificate.pem")
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["8.8.8.8"]

    async with a_tls_server(certificate) as (port, named):

        async def status(name: str, context: ssl.SSLContext | None) -> int:
            wire = Wire(port=port)
            upstream = RemoteUpstream.model_validate({"url": f"https://{name}/mcp"})
            pins, usage, seal = KeptPins(), UsageBook(), Seal(ChecksumSecrets([b"x"]))
            server = RemoteServer(
                *(
                    ALIAS,
                    upstream,
                    ToolRules(ALIAS, upstream, (), pins),
                    seal,
                    usage,
                    lambda _text: False,
                ),
                network=PublicNetwork(resolve=resolve, wire=wire),
                ssl_context=context,
            )
            answer = await Gateway(server, usage, pins).ask(request())
            await server.aclose()
            assert wire.connected_to == ["8.8.8.8"]
            return answer.status

        assert await status("localhost", trusting) == 202
        assert await status("elsewhere.example", trusting) == 502
        assert await status("localhost", None) == 502
        assert named == ["localhost", "elsewhere.example", "localhost"]
