"""One line for each thing done and each sign-in refused; no code, no session and no key in any of them."""

import hashlib
import logging

import pytest

from mcp_keys_server import RequestedGrant
from mcp_keys_server.auth.line_budget import MOST_LINES
from tests.databases import SqliteDatabase
from tests.server.pages.conftest import Visit, Visitor, invite, shown_key
from tests.world import World

pytestmark = pytest.mark.anyio


class Lines:
    """What our own pages have logged since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._seen = len(caplog.records)

    def new(self) -> list[str]:
        records = self._caplog.records[self._seen :]
        self._seen = len(self._caplog.records)
        ours = [record for record in records if record.name.startswith("mcp_keys_server.server.pages")]
        assert all(record.levelno == logging.INFO for record in ours)
        return [record.getMessage() for record in ours]


async def test_what_is_done_on_the_pages_is_logged_with_key_and_user(
    world: World, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    lines, invitation = Lines(caplog), await invite(world)
    path = f"/keys/invitation/{invitation.code}"
    first = shown_key(await visitor.post(path)) or ""
    first_id = invitation.key.key_id
    assert lines.new() == [f"claimed: key_id={first_id} user_id=ada by=invitation client=192.0.2.1"]
    await visitor.sign_in(first)
    assert lines.new() == [f"signed in: key_id={first_id} user_id=ada client=192.0.2.1"]
    key_id = await visitor.create("A name that is not logged")
    assert lines.new() == [f"created: key_id={key_id} user_id=ada by={first_id}"]
    await visitor.get(f"/keys/{key_id}/claim")
    assert lines.new() == []
    await visitor.post(f"/keys/{key_id}/claim")
    assert lines.new() == [f"claimed: key_id={key_id} user_id=ada by={first_id} client=192.0.2.1"]
    await visitor.post(f"/keys/{key_id}/rename", {"name": "x"})
    assert lines.new() == [f"renamed: key_id={key_id} user_id=ada by={first_id}"]
    await visitor.post(f"/keys/{key_id}/revoke", {"reason": "not logged"})
    assert lines.new() == [f"revoked: key_id={key_id} user_id=ada by={first_id}"]
    await visitor.post(f"{path}/revoke")
    assert lines.new() == [f"revoked: key_id={first_id} user_id=ada by=invitation"]


async def test_a_refused_sign_in_is_logged_with_what_is_known(
    world: World, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines(caplog)
    record, key = await world.key()
    other, elsewhere = await world.key("bob", RequestedGrant(aliases=frozenset({"files"})))
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    await visitor.sign_in(key)
    assert lines.new() == [f"sign-in refused: revoked key_id={record.key_id} user_id=ada client=192.0.2.1"]
    await visitor.sign_in("wrong\nforged line")
    assert lines.new() == ["sign-in refused: malformed client=192.0.2.1"]
    await visitor.sign_in(elsewhere)
    assert lines.new() == [f"sign-in refused: not for keys key_id={other.key_id} user_id=bob client=192.0.2.1"]


async def test_what_one_network_is_refused_does_not_fill_the_log(
    world: World, visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    _, elsewhere = await world.key("bob", RequestedGrant(aliases=frozenset({"files"})))
    foreign = {"sec-fetch-site": "cross-site"}
    visitors = [visit(address=address) for address in ("2001:db8::1", "2001:db8::2")]
    lines = Lines(caplog)
    for number in range(30):
        visitor = visitors[number % 2]
        refused = [
            await visitor.post("/keys/sign-in", headers=foreign),
            await visitor.get("/keys/sign-in", {"host": "other.example"}),
            await visitor.sign_in("wrong"),
            await visitor.sign_in(elsewhere),
            await visitor.get("/keys/invitation/unknown"),
        ]
        assert [answer.status_code for answer in refused] == [403, 421, 403 if number < 10 else 429, 403, 404]
    written = lines.new()
    assert len(written) == MOST_LINES
    assert sum("sign-in refused: malformed" in line for line in written) == MOST_LINES // 5
    assert "very many client=2001:db8::/64; " in caplog.text
    await visit().post("/keys/sign-in", headers=foreign)
    assert lines.new() == ["refused: a form of another site client=192.0.2.1"]


async def test_a_store_that_does_not_answer_is_so_many_lines_too(
    world: World, ada: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    world.database.spoil()
    answers = [await ada.get("/keys/") for _ in range(MOST_LINES + 1)]
    assert {answer.status_code for answer in answers} == {503}
    assert sum(line.startswith("a page cannot be shown: ") for line in caplog.messages) == MOST_LINES


async def test_no_log_at_any_level_holds_a_code_a_session_or_a_key(
    world: World, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aiosqlite")  # which a test of the same process may have held back, as `serve` does
    invitation = await invite(world)
    path = f"/keys/invitation/{invitation.code}"
    await visitor.get(path)
    first = shown_key(await visitor.post(path)) or ""
    await visitor.sign_in(first)
    session = visitor.session
    second = shown_key(await visitor.post(f"/keys/{await visitor.create()}/claim")) or ""
    await visitor.post(f"/keys/{invitation.key.key_id}/rename", {"name": second})
    await visitor.get(f"/keys/?after={second}")
    await visitor.get(f"/keys/{second}/claim")
    await visitor.get(f"/keys/sign-in?next={second}")
    await visitor.get(f"{path}x")
    await visitor.post(f"{path}/revoke")
    await visitor.sign_in(second)
    world.database.spoil()
    await visitor.get(path)
    await visitor.sign_in(second)
    log = "\n".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    assert "signed in" in log
    for secret in (invitation.code, session, first, second):
        assert len(secret) >= 43
        assert secret not in log
        assert secret[8:30] not in log
    # At DEBUG the driver of SQLite prints what it is given: only the digest, of which nothing opens.
    if isinstance(world.database, SqliteDatabase):
        assert str(hashlib.sha256(session.encode()).digest())[2:-1] in log
