import httpx2
import pytest

from tests.world import World

pytestmark = pytest.mark.anyio


async def test_a_key_opens_its_owners_endpoint(world: World, http: httpx2.AsyncClient) -> None:
    _, key = await world.key()
    answer = await http.post("/u/ada/keys/mcp", headers={"X-API-Key": key.reveal(), "content-type": "application/json", "accept": "application/json"}, content='{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    assert answer.status_code == 200, answer.text
