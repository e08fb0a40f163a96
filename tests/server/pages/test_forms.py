from collections.abc import Mapping
from html import unescape

import pytest
from starlette.types import ASGIApp, Message, Scope

from mcp_keys_server.server.pages.forms import LARGEST_FORM, MOST_FIELDS
from tests.server.pages.conftest import OWN_FORM, Visitor, text_of
from tests.world import World

pytestmark = pytest.mark.anyio

NAME_RULE = "1 to 64 printable characters in one line"
DAYS_RULE = "A number of days"
WRONG = [
    ("name", "", NAME_RULE),
    ("name", "   ", NAME_RULE),
    ("name", "x" * 65, NAME_RULE),
    ("name", "two\nlines", NAME_RULE),
    ("name", "\x1b[31mred", NAME_RULE),
    ("name", "\u202eright to left", NAME_RULE),
    ("name", "nothing\x00after", NAME_RULE),
    ("scopes", "KEYS:READ", "Each is a lower-case letter"),
    ("scopes", "keys:read keys:write", "Each is a lower-case letter"),
    ("aliases", "../keys", "1 to 64 of 'a-z 0-9 _ -'"),
    ("aliases", " ".join(f"a{number}" for number in range(65)), "1 to 64 of them"),
    ("expires_in_days", "soon", DAYS_RULE),
    ("expires_in_days", "-1", DAYS_RULE),
    ("expires_in_days", "0", DAYS_RULE),
    ("expires_in_days", "nan", DAYS_RULE),
    ("expires_in_days", "inf", DAYS_RULE),
    ("expires_in_days", "1e999", DAYS_RULE),
    ("expires_in_days", "3651", DAYS_RULE),
    ("expires_in_days", "9" * 5000, DAYS_RULE),
]
RIGHT: Mapping[str, str] = {"name": "Laptop", "scopes": "keys:read", "aliases": "keys", "expires_in_days": "30"}
MARKS = {"name": "name", "scopes": "scopes", "aliases": "aliases", "expires_in_days": "expires"}


async def test_a_wrong_field_has_its_message_beside_it_and_the_rest_is_kept(ada: Visitor) -> None:
    for field, text, rule in WRONG:
        answer = await ada.post("/keys/", {**RIGHT, field: text})
        assert answer.status_code == 400, (field, text)
        before, message = answer.text.split(f'<p class="problem" id="{MARKS[field]}-problem">')
        assert rule in unescape(message.split("</p>")[0]), (field, text)
        assert answer.text.count('class="problem"') == 1, (field, text)
        if field != "scopes":
            assert f'aria-invalid="true" aria-describedby="{MARKS[field]}-problem"' in before, (field, text)
        for kept in ("name", "aliases", "expires_in_days"):
            assert kept == field or f'value="{RIGHT[kept]}"' in answer.text, (field, text)
        assert field == "scopes" or 'value="keys:read" checked' in answer.text
        assert 'value="keys:write" checked' not in answer.text


async def test_what_was_typed_wrong_is_there_to_be_mended(ada: Visitor) -> None:
    for field, text in (("name", "x" * 65), ("aliases", "No Such"), ("expires_in_days", "soon")):
        assert f'value="{text}"' in (await ada.post("/keys/", {**RIGHT, field: text})).text
    key_id = await ada.create()
    for path, field, text in (("rename", "name", "y" * 65), ("revoke", "reason", "z" * 201)):
        answer = await ada.post(f"/keys/{key_id}/{path}", {field: text})
        assert answer.status_code == 400
        assert f'value="{text}"' in answer.text
        assert f'<p class="problem" id="{field}-problem">' in answer.text
        assert "printable characters" in answer.text


async def test_every_wrong_field_of_several_is_told(ada: Visitor) -> None:
    answer = await ada.post("/keys/", {"name": "", "aliases": "A", "expires_in_days": "soon", "scopes": "Z"})
    assert answer.text.count('class="problem"') == 4


async def test_a_pasted_key_is_shown_by_no_page(world: World, ada: Visitor) -> None:
    _, key = await world.key()
    key_id, pasted = await ada.create(), key.reveal()
    forms = [("/keys/", field) for field in RIGHT]
    forms += [(f"/keys/{key_id}/rename", "name"), (f"/keys/{key_id}/revoke", "reason")]
    for path, field in forms:
        for text in (pasted, f"my key {pasted}", pasted[:-9], f"{pasted}X"):
            answer = await ada.post(path, {**(RIGHT if path == "/keys/" else {}), field: text})
            assert (answer.status_code, text[-30:] in answer.text) == (400, False), (path, field)
            assert path != "/keys/" or pasted[4:20] not in answer.text
    assert pasted[-30:] not in (await ada.get("/keys/?all=1")).text


async def test_a_form_that_is_no_form_of_ours_is_refused_before_it_does_anything(ada: Visitor) -> None:
    key_id = await ada.create()
    bodies: list[tuple[int, str | None, bytes]] = [
        (415, None, b"name=x"),
        (415, "", b"name=x"),
        (415, "application/json", b'{"name": "x"}'),
        (415, "text/plain", b"name=x"),
        (
            415,
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--x--',
        ),
        (413, "application/x-www-form-urlencoded", b"name=" + b"x" * LARGEST_FORM),
        (400, "application/x-www-form-urlencoded", b"a=1&" * (MOST_FIELDS + 1) + b"name=x"),
        (400, "application/x-www-form-urlencoded", b"name=\xff"),
        (400, "application/x-www-form-urlencoded", b"name=%ff"),
        (400, "application/x-www-form-urlencoded", b"name=%ED%A0%80"),
        (400, "APPLICATION/X-WWW-FORM-URLENCODED ; charset=utf-7", "name=ä".encode()),
    ]
    for path in (
        "/keys/",
        f"/keys/{key_id}/rename",
        f"/keys/{key_id}/revoke",
        f"/keys/{key_id}/claim",
        "/keys/sign-in",
    ):
        for status, kind, body in bodies:
            headers = {**OWN_FORM, **({} if kind is None else {"content-type": kind})}
            answer = await ada.http.post(path, headers=headers, content=body)
            assert answer.status_code == status, (path, kind, body[:20])
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
    keys = text_of(await ada.get("/keys/?all=1"))
    assert "Laptop unclaimed" in keys
    assert keys.count("Begins with") == 2


async def test_a_form_of_the_largest_size_is_read(ada: Visitor) -> None:
    head = b"name=Laptop&x="
    answer = await ada.http.post(
        "/keys/",
        headers={**OWN_FORM, "content-type": "application/x-www-form-urlencoded;charset=UTF-8"},
        content=head + b"x" * (LARGEST_FORM - len(head)),
    )
    assert answer.status_code == 303


async def test_of_a_field_that_comes_twice_the_first_counts(ada: Visitor) -> None:
    key_id = await ada.create()
    await ada.post(f"/keys/{key_id}/rename", {"name": ["First", "Second"]})
    keys = text_of(await ada.get("/keys/"))
    assert ("First unclaimed" in keys, "Second" in keys) == (True, False)


async def test_unknown_fields_change_nothing(world: World, ada: Visitor) -> None:
    fields = {"user_id": "bob", "parent_key_id": "", "prefix": "x", "key_id": "key_0123456789abcdef"}
    key_id = await ada.create(**fields)
    record = await world.ring.store.find_key("ada", key_id)
    assert record is not None
    assert record.parent_key_id is not None
    assert await world.ring.administration.list_keys("bob") == []


async def test_a_form_may_leave_everything_open_but_the_name(world: World, ada: Visitor) -> None:
    answer = await ada.post("/keys/", {"name": "Bare"})
    record = await world.ring.store.find_key("ada", answer.headers["location"].split("/")[2])
    assert record is not None
    assert (record.grant.scopes, record.grant.aliases, record.grant.expires_at) == (frozenset(), None, None)
    assert "open its endpoints, and nothing else" in text_of(await ada.get("/keys/"))


async def test_a_form_that_breaks_off_is_no_crash(app: ASGIApp) -> None:
    """It would fill the log with a traceback, for whoever likes that."""
    sent: list[Message] = []
    messages: list[Message] = [
        {"type": "http.request", "body": b"key=", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"host": "localhost:8000", "content-type": "application/x-www-form-urlencoded", **OWN_FORM}
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/keys/sign-in",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
