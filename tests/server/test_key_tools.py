from datetime import timedelta
from typing import Any

import httpx2
import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, RequestedGrant
from mcp_keys_server.server.stdio import key_tools
from mcp_keys_server.settings import Settings
from tests.conftest import KEY
from tests.server.calls import MODERN, call, post
from tests.world import World

pytestmark = pytest.mark.anyio
TOOLS = [
    "create_key",
    "list_keys",
    "get_key",
    "rotate_key",
    "update_key",
    "disable_key",
    "enable_key",
    "revoke_key",
    "list_events",
    "review_keys",
    "whoami",
    "client_config",
]
FIELDS = {
    "key_id",
    "name",
    "prefix",
    "scopes",
    "aliases",
    "tools",
    "status",
    "created_at",
    "expires_at",
    "last_used_at",
    "last_used_from",
    "use_count",
    "secrets",
    "revoked_by",
    "revoked_at",
    "revoked_reason",
    "made_by",
    "claim_lapses_at",
    "claimed_at",
    "claimed_from",
    "is_current",
}


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_the_whole_life_of_a_key_over_mcp(world: World, http: httpx2.AsyncClient, *, modern: bool) -> None:
    record, key = await world.key()
    created = await call(http, key, "create_key", {"name": "Laptop", "expires_in_days": 1}, modern=modern)
    assert created.structured["status"] == "unclaimed"
    assert created.structured["expires_at"] == "2026-11-22T12:00:00Z"
    assert created.structured["scopes"] == ["keys:read"]
    assert created.structured["made_by"] == record.key_id

    listed = (await call(http, key, "list_keys", modern=modern)).structured["keys"]
    assert {entry["key_id"]: entry["is_current"] for entry in listed} == {
        record.key_id: True,
        created.structured["key_id"]: False,
    }
    new = created.structured["key_id"]
    plaintext = (await world.claim(key, new)).reveal()
    assert (await world.ring.verifier.verify(plaintext)).key_id == new
    shown = (await call(http, key, "get_key", {"key_id": new}, modern=modern)).structured
    assert (shown["status"], shown["claimed_from"]) == ("active", "127.0.0.1")

    revoked = await call(http, key, "revoke_key", {"key_id": new, "reason": "lost"}, modern=modern)
    assert (revoked.structured["status"], revoked.structured["revoked_reason"]) == ("revoked", "lost")
    answer = await http.post("/u/ada/keys/mcp", headers={"X-API-Key": plaintext})
    assert answer.status_code == 401
    everything = (await call(http, key, "list_keys", {"include_revoked": True}, modern=modern)).structured["keys"]
    assert {entry["status"] for entry in everything} == {"active", "revoked"}


async def test_lists_hold_what_is_documented_and_no_secret(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    answer = await call(http, key, "list_keys")
    assert set(answer.structured["keys"][0]) == FIELDS
    assert not KEY.search(answer.response.text)
    assert "$2b$" not in answer.response.text


async def test_the_text_of_a_result_is_its_structure(world: World, http: httpx2.AsyncClient) -> None:
    import json

    _, key = await world.key()
    answer = await call(http, key, "whoami")
    assert json.loads(answer.text) == answer.structured
    assert answer.structured["key"]["is_current"]


async def test_whoami_needs_no_scope(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=RequestedGrant(scopes=frozenset()))
    assert (await call(http, key, "whoami")).structured["key"]["scopes"] == []


async def test_everything_that_can_be_given_to_a_key_is_given(world: World, http: httpx2.AsyncClient) -> None:
    _, maker = await world.key(requested=RequestedGrant(scopes=frozenset({"keys:write", "orders:read"})))
    arguments = {"name": "x", "scopes": ["orders:read"], "aliases": ["notes"], "expires_in_days": 0.5}
    arguments["tools"] = ["notes:read_*"]
    created = (await call(http, maker, "create_key", arguments)).structured
    principal = await world.ring.verifier.verify((await world.claim(maker, created["key_id"])).reveal())
    assert principal.grant.scopes == {"orders:read"}
    assert principal.grant.aliases == frozenset({"notes"})
    assert principal.grant.tools == frozenset({"notes:read_*"})
    assert principal.grant.expires_at == world.clock.now + timedelta(hours=12)


async def test_null_is_the_same_as_nothing(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    arguments = {"name": "x", "scopes": None, "aliases": None, "expires_in_days": None}
    assert (await call(http, key, "create_key", arguments)).structured["aliases"] is None


BAD_ARGUMENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no name": ("create_key", {}, "name: Field required"),
    "name of another type": ("create_key", {"name": 5}, "name: Input should be a valid string"),
    "empty name": ("create_key", {"name": " "}, "name: 1 to 64 printable characters in one line"),
    "name that forges a line": ("create_key", {"name": "a\nb"}, "name: 1 to 64 printable characters in one line"),
    "scopes as one string": (
        "create_key",
        {"name": "x", "scopes": "a b"},
        "scopes: Input should be a valid list. What",
    ),
    "scope that is none": ("create_key", {"name": "x", "scopes": ["A"]}, "scopes: each is a lower-case letter"),
    "alias that is none": ("create_key", {"name": "x", "aliases": ["a/b"]}, "aliases: 1 to 64 of 'a-z 0-9 _ -'"),
    "tool that is none": ("create_key", {"name": "x", "tools": ["read"]}, "tools: each is ALIAS:TOOL, for example "),
    "no tool at all": ("create_key", {"name": "x", "tools": []}, "tools: 1 to 64 of them"),
    "no alias at all": ("create_key", {"name": "x", "aliases": []}, "aliases: 1 to 64 of them"),
    "life of words": (
        "create_key",
        {"name": "x", "expires_in_days": "soon"},
        "expires_in_days: Input should be a valid",
    ),
    "no life": ("create_key", {"name": "x", "expires_in_days": 0}, "expires_in_days: Input should be greater than 0"),
    "life too long": (
        "create_key",
        {"name": "x", "expires_in_days": 1e9},
        "expires_in_days: Input should be less than",
    ),
    "life of true": ("create_key", {"name": "x", "expires_in_days": True}, "expires_in_days: Input should be a valid"),
    "life of no time": (
        "create_key",
        {"name": "x", "expires_in_days": 1e-300},
        "expires_in_days: a number of days",
    ),
    "unknown argument": ("whoami", {"user_id": "bob"}, "unknown argument: this tool takes none"),
    "several at once": ("create_key", {"nam": "x", "aliases": 1}, "name: Field required. What the key is for, "),
    "not an id": ("revoke_key", {"key_id": "Laptop"}, "key_id: 'key_' and 16 hexadecimal digits"),
    "unknown id": ("revoke_key", {"key_id": "key_0123456789abcdef"}, "key_id: you have no key with this id; list_keys"),
    "bad cursor": ("list_keys", {"cursor": "2"}, "cursor: the next_cursor of an earlier page"),
    "bad flag": ("list_keys", {"include_revoked": "perhaps"}, "include_revoked: Input should be a valid boolean"),
}


@pytest.mark.parametrize(("tool", "arguments", "sentence"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
async def test_bad_arguments_are_named_with_their_rule(
    world: World, http: httpx2.AsyncClient, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    _, key = await world.key()
    answer = await call(http, key, tool, arguments)
    assert answer.is_error
    assert answer.text.startswith(sentence)
    assert len(await world.ring.administration.list_keys()) == 1


PASTED: dict[str, tuple[str, str]] = {
    "as key_id": ("revoke_key", "key_id"),
    "as reason": ("revoke_key", "reason"),
    "as name": ("create_key", "name"),
    "as cursor": ("list_keys", "cursor"),
    "as a life": ("create_key", "expires_in_days"),
    "as an argument's name": ("whoami", ""),
}


@pytest.mark.parametrize(("tool", "field"), PASTED.values(), ids=PASTED)
async def test_a_pasted_key_is_never_echoed(
    world: World, http: httpx2.AsyncClient, tool: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await world.key()
    pasted = key.reveal()
    arguments: dict[str, Any] = {"name": "x"} if tool == "create_key" else {}
    if tool == "revoke_key":
        arguments["key_id"] = "key_0123456789abcdef"
    arguments[field or pasted] = pasted
    answer = await call(http, key, tool, arguments)
    assert answer.is_error
    assert pasted[4:] not in answer.response.text
    assert pasted[12:] not in caplog.text


async def test_what_a_key_may_not_do_is_said(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=RequestedGrant(scopes=frozenset({"orders:read"})))
    refused = await call(http, key, "create_key", {"name": "x"})
    assert refused.is_error
    assert refused.text == "the key in use may not do this: it needs the scope keys:write and has only: orders:read"
    assert (await call(http, key, "list_keys")).is_error


async def test_an_argument_whose_name_is_no_text_is_refused_like_any_other(
    world: World, http: httpx2.AsyncClient
) -> None:
    _, key = await world.key()
    for modern in (False, True):
        response = await post(http, key, "whoami", {"\ud800": 1}, modern=modern)
        assert response.status_code in (200, 400)
        assert "crashed" not in response.text
        assert "Internal" not in response.text


async def test_an_unknown_tool_is_an_error_that_names_those_there_are(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    body = (await post(http, key, "drop_tables")).json()
    assert (body["error"]["code"], "drop_tables" in body["error"]["message"]) == (-32602, False)
    assert "create_key, list_keys, get_key, rotate_key" in body["error"]["message"]
    assert (await post(http, key, "drop_tables", {"a": 1}, modern=True)).json()["error"]["code"] == -32602


async def test_a_store_that_fails_within_a_call_says_to_try_again(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    world.database.refuse("INSERT", "keys", saying="disk on fire")
    answer = await call(http, key, "create_key", {"name": "x"})
    assert answer.is_error
    assert "Try again" in answer.text
    assert "fire" not in answer.response.text


async def test_a_crash_within_a_tool_shows_nothing_of_itself(
    world: World, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key()

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("postgresql://ada:hunter2@db")

    monkeypatch.setattr(type(world.ring.manager), "current_key", crash)
    for modern in (False, True):
        answer = await post(http, key, "whoami", modern=modern)
        assert "hunter2" not in answer.text
        assert answer.json()["result"]["isError"]


async def test_each_change_is_one_line_that_says_who_did_what(
    world: World, http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    record, key = await world.key()
    created = (await call(http, key, "create_key", {"name": "x"})).structured["key_id"]
    await call(http, key, "revoke_key", {"key_id": created})
    await call(http, key, "revoke_key", {"key_id": "key_0123456789abcdef"})
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("mcp_keys_server.server")]
    assert [line for line in lines if not line.startswith("accepted")] == [
        f"created: key_id={created} user_id=ada by={record.key_id}",
        f"revoked: key_id={created} user_id=ada by={record.key_id}",
        f"refused: revoke_key key_id={record.key_id} user_id=ada key_id: you have no key with this id",
    ]


async def test_every_tool_is_announced_with_title_hints_and_schemas(world: World) -> None:
    table = key_tools(world.ring, Settings()).table()
    tools = {name: tool.definition for name, tool in table.items()}
    assert list(tools) == TOOLS
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert tool.annotations
        assert tool.annotations.open_world_hint is False
        assert tool.output_schema
        assert tool.output_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        for about in tool.input_schema.get("properties", {}).values():
            assert about["description"]
            assert "anyOf" not in about
            assert about.get("default", "some") is not None
    hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {
        "list_keys",
        "get_key",
        "list_events",
        "review_keys",
        "whoami",
        "client_config",
    }
    assert {name for name, hint in hints.items() if hint.destructive_hint} == {
        "rotate_key",
        "update_key",
        "disable_key",
        "revoke_key",
    }


async def test_tools_lists_are_the_callers_own_to_cache(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    headers = {"X-API-Key": key.reveal(), "mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    result = (await http.post("/u/ada/keys/mcp", headers=headers, json=body)).json()["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (300_000, "private")
    assert len(result["tools"]) == len(TOOLS)


@pytest.mark.parametrize(
    ("scopes", "listed"),
    [
        (set(), ["get_key", "revoke_key", "whoami", "client_config"]),
        (
            {"keys:read"},
            ["list_keys", "get_key", "revoke_key", "list_events", "review_keys", "whoami", "client_config"],
        ),
        ({"keys:read", "keys:write"}, TOOLS),
    ],
)
async def test_a_key_is_shown_only_the_tools_that_it_may_use(
    world: World, http: httpx2.AsyncClient, scopes: set[str], listed: list[str]
) -> None:
    _, key = await world.key(requested=RequestedGrant(scopes=frozenset(scopes)))
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await http.post("/u/ada/keys/mcp", headers={"X-API-Key": key.reveal()}, json=body)
    assert [tool["name"] for tool in answer.json()["result"]["tools"]] == listed


async def names_of_tools(http: httpx2.AsyncClient, key: ApiKey) -> list[str]:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await http.post("/u/ada/keys/mcp", headers={"X-API-Key": key.reveal()}, json=body)
    return [tool["name"] for tool in answer.json()["result"]["tools"]]


@pytest.mark.parametrize(
    ("tools", "listed"),
    [
        ({"keys:list_*", "notes:*"}, ["list_keys", "list_events"]),
        ({"*:*_key"}, ["create_key", "get_key", "rotate_key", "update_key", "disable_key", "enable_key", "revoke_key"]),
        ({"notes:*"}, []),
    ],
)
async def test_a_key_is_shown_only_the_tools_that_it_may_call(
    world: World, http: httpx2.AsyncClient, tools: set[str], listed: list[str]
) -> None:
    _, key = await world.key(requested=RequestedGrant(tools=frozenset(tools)))
    assert await names_of_tools(http, key) == listed


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_a_tool_that_the_key_may_not_call_is_none_to_it(
    world: World, http: httpx2.AsyncClient, *, modern: bool
) -> None:
    record, key = await world.key(requested=RequestedGrant(tools=frozenset({"keys:whoami", "keys:list_*"})))
    answers = [
        (await post(http, key, tool, arguments, modern=modern)).json()["error"]
        for tool, arguments in (("revoke_key", {"key_id": record.key_id}), ("create_key", {}), ("no_such_tool", {}))
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["message"] == "There is no such tool; there are: list_keys, list_events, whoami"
    said = (await call(http, key, "whoami", modern=modern)).structured["key"]
    assert (said["status"], said["tools"]) == ("active", ["keys:list_*", "keys:whoami"])


async def test_a_key_that_may_call_no_tool_here_is_told_of_none(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key(requested=RequestedGrant(tools=frozenset({"notes:*"})))
    assert (await post(http, key, "whoami")).json()["error"]["message"] == "There is no such tool; there are: none"


async def test_the_tools_of_a_key_are_narrowed_from_the_next_call_on(world: World, http: httpx2.AsyncClient) -> None:
    record, key = await world.key()
    asked = {"key_id": record.key_id, "tools": ["keys:update_key", "keys:whoami"]}
    assert (await call(http, key, "update_key", asked)).structured["tools"] == asked["tools"]
    assert await names_of_tools(http, key) == ["update_key", "whoami"]
    wider = await call(http, key, "update_key", asked | {"tools": ["keys:*"]})
    assert (wider.is_error, "only ever narrowed" in wider.text) == (True, True)


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
async def test_a_key_is_rotated_changed_disabled_and_ended_with_its_family(
    world: World, inline_http: httpx2.AsyncClient, *, modern: bool
) -> None:
    async def ask(presented: ApiKey, tool: str, **arguments: object) -> dict[str, Any]:
        return (await call(inline_http, presented, tool, arguments, modern=modern)).structured

    async def is_good(plaintext: str) -> bool:
        try:
            await world.ring.verifier.verify(plaintext)
        except InvalidApiKeyError:
            return False
        return True

    parse = world.ring.verifier._mint.parse
    _, ada = await world.key()
    first = await ask(ada, "create_key", name="Laptop", scopes=["keys:read", "keys:write"], expires_in_days=30)
    second = await ask(ada, "rotate_key", key_id=first["key_id"], overlap_hours=1)
    assert (second["key_id"], second["expires_at"]) == (first["key_id"], first["expires_at"])
    assert len(second["secrets"]) == 2
    assert await is_good(first["key"])
    world.clock.advance(hours=1)
    assert not await is_good(first["key"])
    child = await ask(parse(second["key"]), "create_key", name="Child")
    changed = await ask(ada, "update_key", key_id=first["key_id"], name="Desk", scopes=["keys:write"])
    assert (changed["name"], changed["scopes"]) == ("Desk", ["keys:write"])
    assert (await ask(ada, "get_key", key_id=child["key_id"]))["scopes"] == []
    assert (await ask(ada, "disable_key", key_id=first["key_id"]))["status"] == "disabled"
    assert not await is_good(second["key"])
    assert (await ask(ada, "enable_key", key_id=first["key_id"]))["status"] == "active"
    assert await is_good(second["key"])
    ended = await ask(ada, "revoke_key", key_id=first["key_id"], reason="stolen", cascade=True)
    assert (ended["status"], ended["also_ended"]) == ("revoked", [child["key_id"]])
    assert not await is_good(child["key"])
    kinds = [event["kind"] for event in (await ask(ada, "list_events"))["events"]]
    assert kinds[:5] == ["key_revoked", "key_revoked", "key_enabled", "key_disabled", "key_changed"]
    assert (await ask(ada, "list_events", before=1))["events"] == []


async def test_what_deserves_attention_is_found(world: World, http: httpx2.AsyncClient) -> None:
    record, key = await world.key(requested=RequestedGrant(expires_in_days=30))
    assert (await call(http, key, "review_keys")).structured["findings"] == []
    world.clock.advance(days=20)
    found = (await call(http, key, "review_keys", {"unused_days": 365})).structured["findings"]
    assert (record.key_id, "expiring") in {(finding["key_id"], finding["kind"]) for finding in found}
    assert (await call(http, key, "review_keys", {"unused_days": -1})).is_error
