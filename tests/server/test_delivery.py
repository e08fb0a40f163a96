"""How a new key reaches its person, whichever way the operator chose."""

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_keys_server import ApiKey, Principal, RequestedGrant
from mcp_keys_server.core.errors import InvalidFieldError, KeyNotFoundError, NotPermittedError
from mcp_keys_server.core.records import KeyStatus
from mcp_keys_server.server import link_delivery
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.delivery import Answer, Call
from mcp_keys_server.server.file_delivery import FileDelivery, KeyFileError
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.link_delivery import CLAIM, LinkDelivery
from mcp_keys_server.server.stdio import key_tools
from mcp_keys_server.server.tool_results import ClaimableKey
from mcp_keys_server.settings import Settings, SettingsError
from tests.conftest import KEY
from tests.server.calls import MODERN, call, post
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
OPENS_LINKS: dict[str, Any] = {"elicitation": {"url": {}}}


@pytest.fixture
async def asker(world: World) -> tuple[ApiKey, Principal]:
    _, key = await world.key()
    return key, await world.ring.verifier.verify(key.reveal())


def link(world: World, seconds_to_wait: float = 0) -> LinkDelivery:
    return LinkDelivery(
        world.ring.manager, "https://keys.example.com", seconds_to_wait=seconds_to_wait, clock=world.clock
    )


async def asked(world: World, principal: Principal) -> str:
    """The state of a question that the delivery asked."""
    question = await link(world).create(Call(principal, opens_links=True), name="x", requested=NOTHING_SPECIAL)
    state = question.model_dump()["request_state"]
    assert isinstance(state, str)
    return state


async def answered(
    world: World, principal: Principal, state: str, action: Answer, seconds_to_wait: float = 0
) -> ClaimableKey:
    back = Call(principal, opens_links=True, answers={CLAIM: action}, state=state)
    result = await link(world, seconds_to_wait).create(back, name="x", requested=NOTHING_SPECIAL)
    assert isinstance(result, ClaimableKey)
    return result


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_a_client_that_opens_no_links_gets_the_link_and_a_sentence(
    world: World, http: httpx2.AsyncClient, *, modern: bool
) -> None:
    _, key = await world.key()
    created = await call(http, key, "create_key", {"name": "x"}, modern=modern)
    url = f"http://127.0.0.1:8000/keys/{created.structured['key_id']}/claim"
    assert created.structured["claim_url"] == url
    assert f"open {url} and sign in" in created.text
    assert not KEY.search(created.response.text)


@pytest.mark.parametrize(
    ("capabilities", "is_asked"),
    [
        (OPENS_LINKS, True),
        ({"elicitation": {"url": {}, "form": {}}}, True),
        ({"elicitation": {"form": {}}}, False),
        ({"elicitation": {}}, False),
        ({}, False),
    ],
)
async def test_only_a_client_that_says_so_is_asked_to_open_a_link(
    world: World, http: httpx2.AsyncClient, capabilities: dict[str, Any], *, is_asked: bool
) -> None:
    _, key = await world.key()
    meta = {"io.modelcontextprotocol/clientCapabilities": capabilities}
    response = await post(http, key, "create_key", {"name": "x"}, modern=True, meta=meta)
    result = response.json()["result"]
    assert result["resultType"] == ("input_required" if is_asked else "complete")
    if is_asked:
        (request,) = result["inputRequests"].values()
        assert request["method"] == "elicitation/create"
        assert request["params"]["url"].endswith("/claim")
        assert "elicitationId" not in request["params"]
    assert not KEY.search(response.text)


async def test_a_client_of_the_legacy_protocol_is_never_asked_by_a_result(
    world: World, http: httpx2.AsyncClient
) -> None:
    _, key = await world.key()
    headers = {"mcp-protocol-version": "2025-11-25"}
    meta = {"io.modelcontextprotocol/clientCapabilities": OPENS_LINKS}
    response = await post(http, key, "create_key", {"name": "x"}, headers=headers, meta=meta)
    assert "claim_url" in response.json()["result"]["structuredContent"]


async def test_whoever_accepted_is_waited_for(world: World, asker: tuple[ApiKey, Principal]) -> None:
    key, principal = asker
    state = await asked(world, principal)
    waiting = asyncio.create_task(answered(world, principal, state, "accept", seconds_to_wait=60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await world.claim(key, state)
    result = await waiting
    assert result.status is KeyStatus.ACTIVE
    assert result.what_to_do == "The user has been shown the key. Do not ask for it."


async def test_nobody_is_waited_for_for_ever(world: World, asker: tuple[ApiKey, Principal]) -> None:
    _, principal = asker
    result = await answered(world, principal, await asked(world, principal), "accept")
    assert result.status is KeyStatus.UNCLAIMED
    assert result.claim_url in result.what_to_do


async def test_a_key_that_will_never_be_claimed_is_not_waited_for(
    world: World, asker: tuple[ApiKey, Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, principal = asker
    monkeypatch.setattr(link_delivery, "SECONDS_BETWEEN_LOOKS", 0)
    state = await asked(world, principal)
    waiting = asyncio.create_task(answered(world, principal, state, "accept", seconds_to_wait=60))
    await asyncio.sleep(0)
    world.clock.advance(minutes=15)
    result = await waiting
    assert result.status is KeyStatus.LAPSED
    assert "never will be" in result.what_to_do


async def test_whoever_declines_has_the_key_revoked(world: World, asker: tuple[ApiKey, Principal]) -> None:
    _, principal = asker
    result = await answered(world, principal, await asked(world, principal), "decline")
    assert (result.status, result.revoked_reason) == (KeyStatus.REVOKED, "its owner declined to claim it")


async def test_declining_after_the_claim_revokes_nothing(world: World, asker: tuple[ApiKey, Principal]) -> None:
    key, principal = asker
    state = await asked(world, principal)
    await world.claim(key, state)
    assert (await answered(world, principal, state, "decline")).status is KeyStatus.ACTIVE


async def test_whoever_dismisses_the_question_can_still_open_the_link(
    world: World, asker: tuple[ApiKey, Principal]
) -> None:
    _, principal = asker
    assert (await answered(world, principal, await asked(world, principal), "cancel")).status is KeyStatus.UNCLAIMED


async def test_an_answer_makes_no_second_key(world: World, asker: tuple[ApiKey, Principal]) -> None:
    _, principal = asker
    state = await asked(world, principal)
    for action in ("accept", "cancel", "decline"):
        await answered(world, principal, state, action)
    assert len(await world.ring.administration.list_keys(include_ended=True)) == 2


@pytest.mark.parametrize("state", ["", "key_0123456789abcdef", "garbage", "mhu_" + "x" * 51, "\ud800"])
async def test_a_made_up_state_is_refused(world: World, asker: tuple[ApiKey, Principal], state: str) -> None:
    _, principal = asker
    with pytest.raises((InvalidFieldError, KeyNotFoundError)):
        await answered(world, principal, state, "accept")


async def test_a_state_that_names_a_key_of_somebody_else_s_making_is_refused(
    world: World, asker: tuple[ApiKey, Principal]
) -> None:
    _, principal = asker
    another = await world.principal()
    bobs = await world.principal("bob")
    for maker in (another, bobs):
        with pytest.raises(KeyNotFoundError):
            await answered(world, principal, await asked(world, maker), "decline")
    keys = await world.ring.administration.list_keys(include_ended=True)
    assert all(key.revoked_at is None for key in keys)


async def test_a_file_is_private_and_holds_the_key_and_nothing_else(
    world: World, asker: tuple[ApiKey, Principal], tmp_path: Path
) -> None:
    _, principal = asker
    folder = tmp_path / "config" / "keys"
    made = await FileDelivery(world.ring.manager, folder, clock=world.clock).create(
        Call(principal), name="x", requested=NOTHING_SPECIAL
    )
    path = Path(made.key_file)
    assert path.parent == folder
    assert [stat.S_IMODE(entry.stat().st_mode) for entry in (path, folder)] == [0o600, 0o700]
    key = path.read_text().removesuffix("\n")
    assert (await world.ring.verifier.verify(key)).key_id == made.key_id
    assert not KEY.search(made.model_dump_json())


async def test_a_file_that_cannot_be_written_leaves_no_good_key(
    world: World, asker: tuple[ApiKey, Principal], tmp_path: Path
) -> None:
    _, principal = asker
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(KeyFileError, match="so nothing was done"):
        await FileDelivery(world.ring.manager, tmp_path / "taken", clock=world.clock).create(
            Call(principal), name="x", requested=NOTHING_SPECIAL
        )
    assert len(await world.ring.administration.list_keys(include_ended=True)) == 1


async def test_a_file_that_cannot_be_filled_leaves_no_good_key(
    world: World, asker: tuple[ApiKey, Principal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    _, principal = asker
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(KeyFileError, match="so the key was revoked.*No space left"):
        await FileDelivery(world.ring.manager, tmp_path / "keys", clock=world.clock).create(
            Call(principal), name="x", requested=NOTHING_SPECIAL
        )
    keys = await world.ring.administration.list_keys(include_ended=True)
    assert {key.revoked_reason for key in keys} == {"its file cannot be written", None}
    assert list((tmp_path / "keys").iterdir()) == []


async def test_a_file_outlasts_a_loss_of_power_as_soon_as_anybody_is_told_of_it(
    world: World, asker: tuple[ApiKey, Principal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    synced: list[list[str]] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        sync(handle)
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        synced.append(os.listdir(handle) if is_folder else [os.pread(handle, 1_000, 0).decode()])

    monkeypatch.setattr(os, "fsync", noted)
    made = await FileDelivery(world.ring.manager, folder, clock=world.clock).create(
        Call(asker[1]), name="x", requested=NOTHING_SPECIAL
    )
    path = Path(made.key_file)
    assert synced == [[path.read_text()], [path.name]]


async def test_where_folders_cannot_be_synced_a_key_is_delivered_all_the_same(
    world: World, asker: tuple[ApiKey, Principal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    made = await FileDelivery(world.ring.manager, tmp_path, clock=world.clock).create(
        Call(asker[1]), name="x", requested=NOTHING_SPECIAL
    )
    assert made.status is KeyStatus.ACTIVE


async def test_inline_the_result_holds_the_key(world: World, inline_http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    created = await call(inline_http, key, "create_key", {"name": "x"})
    assert (await world.ring.verifier.verify(created.structured["key"])).key_id == created.structured["key_id"]


async def test_every_way_refuses_what_the_key_may_not_do(world: World, tmp_path: Path) -> None:
    weak = await world.principal(requested=RequestedGrant(scopes=frozenset()))
    for way in (link(world), FileDelivery(world.ring.manager, tmp_path / "keys")):
        with pytest.raises(NotPermittedError):
            await way.create(Call(weak), name="x", requested=NOTHING_SPECIAL)
    assert list((tmp_path / "keys").iterdir()) == []


async def test_over_http_no_file_is_written_on_the_server(world: World) -> None:
    settings = Settings(secret_delivery="file")
    with pytest.raises(SettingsError, match="secret_delivery: file is for stdio"):
        build_app(world.ring, host_policy(settings, port=8000), settings)


async def test_stdio_links_only_to_pages_whose_address_it_knows(world: World) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        key_tools(world.ring, Settings(secret_delivery="link"))
    known = Settings(secret_delivery="link", public_url="https://keys.example.com")
    for settings, field in (
        (known, "claim_url"),
        (Settings(), "key_file"),
        (Settings(secret_delivery="inline"), "key"),
    ):
        tool = key_tools(world.ring, settings).table()["create_key"]
        assert tool.definition.output_schema
        assert field in tool.definition.output_schema["properties"]
        assert json.dumps(tool.definition.output_schema).count("what_to_do")
