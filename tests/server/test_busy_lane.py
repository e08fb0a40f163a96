"""What each door says while too many imported keys wait for their first check."""

import httpx2
import pytest

from mcp_keys_server import TooBusyError
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.server.tool_server import _SENTENCES
from tests.imported_keys import busy_lane
from tests.server.calls import post
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_an_endpoint_says_to_try_again_and_lets_others_in(world: World, http: httpx2.AsyncClient) -> None:
    _, native = await world.key()
    async with busy_lane(world) as key:
        answer = await post(http, ApiKey(key, tag="mhu_"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == -32000
        assert "Try again in a few seconds" in answer.json()["error"]["message"]
        assert "www-authenticate" not in answer.headers
        assert (await post(http, native)).status_code == 200
    assert (await post(http, ApiKey(key, tag="mhu_"))).status_code == 401


async def test_the_sign_in_says_to_try_again(world: World, http: httpx2.AsyncClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    async with busy_lane(world) as key:
        answer = await http.post("/keys/sign-in", data={"key": key}, headers=form)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Try again in a moment" in answer.text


def test_the_tools_say_to_try_again() -> None:
    assert "Try again" in str(_SENTENCES[TooBusyError])
