"""In how many pieces a client is sent an answer."""

import pytest
from starlette.types import Message

from mcp_keys_server.server.gateway.remotes.relayed_answer import RelayedAnswer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("of_events", "sent"),
    [
        pytest.param(False, [(b"1", True), (b"2", True), (b"3", False)], id="of what is read as a whole, with its end"),
        pytest.param(
            True, [(b"1", True), (b"2", True), (b"3", True), (b"", False)], id="of events, each as soon as it is there"
        ),
    ],
)
async def test_the_last_piece_of_an_answer_goes_out(*, of_events: bool, sent: list[tuple[bytes, bool]]) -> None:
    bodies: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("an answer asks for nothing")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message)

    answer = RelayedAnswer({}, receive, send)
    await answer.begin(200, [], of_events=of_events)
    for piece in (b"1", b"2", b"3"):
        await answer.pass_on(piece)
        assert not of_events or bodies[-1]["body"] == piece
    await answer.end()
    assert [(message["body"], message["more_body"]) for message in bodies] == sent
