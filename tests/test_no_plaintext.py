"""After a whole life of keys with every logger at DEBUG, their plaintext is found nowhere that it does not belong."""

import gc
import io
import logging
from collections.abc import Iterator

import httpx2
import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, StoreUnavailableError
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.log_setup import RedactingFormatter
from mcp_keys_server.settings import Settings
from tests.server.calls import call, post
from tests.server.conftest import BASE_URL
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the server's own handler writes when every logger there is, ours or not, prints all it has."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter("%(name)s %(message)s"))
    loggers = [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.root.addHandler(handler)
    yield written
    logging.root.removeHandler(handler)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


async def test_no_plaintext_is_left_anywhere(
    world: World, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    keys = await a_whole_life(world, said, monkeypatch)
    plaintexts = [key.reveal() for key in keys]
    places = {
        "the log": log.getvalue(),
        "what was said to callers": "\n".join(said),
        "reprs": "\n".join(map(repr, (world.ring, world.ring.verifier, world.ring.store, *keys))),
        "the database": world.stored_bytes().decode("latin-1"),
    }
    assert len(plaintexts) == 5
    assert "mcp.server" in places["the log"]
    for place, content in places.items():
        for plaintext in plaintexts:
            for window in windows(plaintext):
                assert window not in content, f"a part of a key is in {place}"
    caplog.clear()  # the lines of the test's own client, which have been looked through as the handler wrote them


async def test_no_plaintext_is_the_key_of_anything_in_memory(world: World) -> None:
    _, key = await world.key()
    await world.ring.verifier.verify(key.reveal())
    for thing in gc.get_objects():
        if isinstance(thing, dict | set | frozenset):
            assert key.reveal() not in {entry for entry in list(thing) if type(entry) is str}


async def a_whole_life(world: World, said: list[str], monkeypatch: pytest.MonkeyPatch) -> list[ApiKey]:
    """Keys created, used, listed, misused, revoked, refused and crashed with; what callers were told but new keys."""
    keys = [key for _, key in (await world.key(), await world.key(), await world.key("bob"))]
    settings = Settings(secret_delivery="inline")
    app = build_app(world.ring, host_policy(settings, port=8000), settings)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        for modern in (False, True):
            created = await call(http, keys[0], "create_key", {"name": "x"}, modern=modern)
            new = world.ring.verifier._mint.parse(created.structured["key"])
            keys.append(new)
            for tool, arguments in (
                ("whoami", {}),
                ("list_keys", {"include_revoked": True}),
                ("revoke_key", {"key_id": created.structured["key_id"], "reason": "done"}),
                ("revoke_key", {"key_id": new.reveal()}),
                ("create_key", {"name": new.reveal(), "scopes": [new.reveal()]}),
                ("list_keys", {"cursor": new.reveal(), new.reveal(): new.reveal()}),
                (new.reveal(), {}),
            ):
                said.append((await post(http, keys[0], tool, arguments, modern=modern)).text)
            said.append((await post(http, new, modern=modern)).text)
            said.append((await post(http, keys[2], modern=modern)).text)
            said.append((await post(http, keys[0], modern=modern, path=f"/u/{new.reveal()}/keys/mcp")).text)
        said.append((await http.get(f"/{keys[0].reveal()}?key={keys[1].reveal()}")).text)

        async def crash(_: object, presented: str) -> None:
            raise RuntimeError(f"crashed with {presented}")

        with monkeypatch.context() as broken:
            broken.setattr(type(world.ring.verifier), "verify", crash)
            said.append((await post(http, keys[0])).text)

    async def full(*_: object, **__: object) -> None:
        raise StoreUnavailableError("full")

    with monkeypatch.context() as broken:
        broken.setattr(type(world.ring.store), "change", full)
        with pytest.raises(StoreUnavailableError) as trouble:
            await world.key()
        said.append(repr(trouble.value))
    with pytest.raises(InvalidApiKeyError) as refused:
        await world.ring.verifier.verify(keys[-1].reveal())
    said.append(f"{refused.value!r} {refused.value} {vars(refused.value)}")
    return keys


def windows(plaintext: str) -> Iterator[str]:
    """Every sixteen characters of the part that is secret."""
    secret = plaintext[12:]
    for start in range(len(secret) - 15):
        yield secret[start : start + 16]
