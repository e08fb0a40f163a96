import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mcp_keys_server import InvalidApiKeyError, StoreUnavailableError
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.checksum_secrets import SECONDS_BETWEEN_LOOKS, SECONDS_TO_BE_LATE, ChecksumSecrets, id_of
from tests.mints import mint_of

pytestmark = pytest.mark.anyio

OLD, NEW = b"an old secret of a database", b"a new secret of a database"
MISSHAPEN = "mhu_" + "A" * 60


@dataclass
class Process:
    """One that knows the old secret of a database that has both."""

    seconds: float = 0.0
    reads: int = 0
    kept: Sequence[bytes] = (NEW, OLD)
    answers: bool = True
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go.set()
        self.secrets = ChecksumSecrets([OLD], self.read, clock=lambda: self.seconds)
        self.mint = KeyMint(self.secrets)

    async def read(self) -> Sequence[bytes]:
        self.reads += 1
        await self.go.wait()
        if not self.answers:
            raise StoreUnavailableError("not now")
        return self.kept

    async def refuses(self, presented: str) -> None:
        with pytest.raises(InvalidApiKeyError):
            await self.mint.recognise(presented)


@pytest.fixture
def process() -> Process:
    return Process()


async def test_a_key_under_a_secret_that_is_not_known_yet_is_recognised(process: Process) -> None:
    key = mint_of(NEW).mint()
    assert (await process.mint.recognise(key.reveal())).made_with == id_of(NEW) == key.made_with
    assert process.secrets.making == NEW
    assert (await process.mint.recognise(mint_of(OLD).mint().reveal())).made_with == id_of(OLD)
    assert process.reads == 1


async def test_whoever_has_just_looked_does_not_look_for_what_is_made_up(process: Process) -> None:
    await process.secrets.look()
    for seconds in (0, SECONDS_TO_BE_LATE):
        process.seconds = seconds
        await process.refuses(mint_of(b"another").mint().reveal())
        assert process.reads == 1
    process.seconds = SECONDS_TO_BE_LATE + 0.1
    await process.refuses(mint_of(b"another").mint().reveal())
    assert process.reads == 2


async def test_nobody_looks_for_what_no_secret_could_make_a_key(process: Process) -> None:
    for presented in (MISSHAPEN, "", "mhu_", mint_of(NEW).mint().reveal() + "="):
        await process.refuses(presented)
    assert process.reads == 0


async def test_nobody_looks_for_what_is_recognised(process: Process) -> None:
    await process.mint.recognise(mint_of(OLD).mint().reveal())
    imported = mint_of(OLD).mint().reveal()[:47]
    assert (await process.mint.recognise(imported)).imported
    assert process.reads == 0


async def test_where_nobody_can_say_a_key_is_not_refused_for_good(process: Process) -> None:
    process.answers = False
    for process.seconds, reads in ((0.0, 1), (SECONDS_BETWEEN_LOOKS - 0.1, 1), (SECONDS_BETWEEN_LOOKS, 2)):
        with pytest.raises(StoreUnavailableError):
            await process.mint.recognise(mint_of(NEW).mint().reveal())
        assert process.reads == reads  # and no more while the store is away, whatever is made up
    assert process.secrets.making == OLD
    await process.mint.recognise(mint_of(OLD).mint().reveal())
    process.answers, process.seconds = True, 2 * SECONDS_BETWEEN_LOOKS
    await process.mint.recognise(mint_of(NEW).mint().reveal())


async def test_all_who_ask_at_once_wait_for_one_look(process: Process) -> None:
    process.go.clear()
    looks = [asyncio.ensure_future(process.mint.recognise(mint_of(NEW).mint().reveal())) for _ in range(5)]
    while not process.reads:
        await asyncio.sleep(0)
    looks[0].cancel()
    await asyncio.wait(looks[:1])
    process.go.set()
    assert [key.made_with for key in await asyncio.gather(*looks[1:])] == [id_of(NEW)] * 4
    assert process.reads == 1


async def test_what_is_known_is_as_old_as_the_beginning_of_the_look(process: Process) -> None:
    process.go.clear()
    look = asyncio.ensure_future(process.secrets.look())
    while not process.reads:
        await asyncio.sleep(0)
    process.seconds = SECONDS_TO_BE_LATE + 1
    process.go.set()
    await look
    assert process.secrets.may_be_late


async def test_who_meets_a_look_that_began_too_long_ago_has_another_one(process: Process) -> None:
    process.kept = (OLD,)
    reading, process.go = process.go, asyncio.Event()
    look = asyncio.ensure_future(process.secrets.look())
    while not process.reads:
        await asyncio.sleep(0)
    process.seconds = SECONDS_TO_BE_LATE + 1
    recognised = asyncio.ensure_future(process.mint.recognise(mint_of(NEW).mint().reveal()))
    await asyncio.sleep(0)
    process.go.set()
    await look
    process.kept = (NEW, OLD)
    assert (await recognised).made_with == id_of(NEW)
    assert process.reads == 2
    assert reading.is_set()


async def test_where_every_look_takes_too_long_nobody_can_say() -> None:
    class Slow(Process):
        async def read(self) -> Sequence[bytes]:
            self.seconds += SECONDS_TO_BE_LATE + 1
            return await super().read()

    with pytest.raises(StoreUnavailableError, match="took too long to say which checksum secrets there are"):
        await Slow().mint.recognise(mint_of(b"another").mint().reveal())


async def test_who_closes_waits_for_the_look_and_there_is_no_other(process: Process) -> None:
    await process.secrets.close()
    process = Process()
    process.go.clear()
    asked = asyncio.ensure_future(process.mint.recognise(mint_of(NEW).mint().reveal()))
    while not process.reads:
        await asyncio.sleep(0)
    closed = asyncio.ensure_future(process.secrets.close())
    await asyncio.sleep(0)
    assert not closed.done()
    process.go.set()
    await closed
    await asked
    with pytest.raises(StoreUnavailableError, match="^the database is being closed$"):
        await process.secrets.look()
    assert process.reads == 1


async def test_nobody_waits_for_long_while_the_database_hangs(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.go.clear()
    monkeypatch.setattr("mcp_keys_server.core.checksum_secrets.SECONDS_TO_WAIT", 0)
    with pytest.raises(StoreUnavailableError, match="^the database does not say which checksum secrets there are$"):
        await process.mint.recognise(mint_of(NEW).mint().reveal())
    monkeypatch.undo()
    process.go.set()
    await process.mint.recognise(mint_of(NEW).mint().reveal())
    assert process.reads == 1


async def test_secrets_that_are_read_from_nowhere_stay_as_they_are() -> None:
    secrets = ChecksumSecrets([OLD])
    assert not secrets.may_be_late
    await secrets.look()
    assert list(secrets) == [OLD]


async def test_it_looks_again_and_again_whatever_becomes_of_a_single_look(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_keys_server.core.checksum_secrets.SECONDS_BETWEEN_LOOKS", 0)
    process.answers = False
    looking = asyncio.ensure_future(process.secrets.keep_looking())
    while process.reads < 3:
        await asyncio.sleep(0)
    assert process.secrets.making == OLD
    process.answers = True
    while process.secrets.making == OLD:
        await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait([looking])
    assert looking.cancelled()
