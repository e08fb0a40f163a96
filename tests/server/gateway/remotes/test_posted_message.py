import json
import tracemalloc

from mcp_keys_server.server.gateway.remotes.posted_message import LARGEST_MESSAGE, parse_message


def body(**params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def test_of_the_parameters_those_are_kept_that_name_something() -> None:
    message = parse_message(body(name="look", NAME=["x"], uri="a://b", arguments={"name": "y"}, more=1))
    assert message.params == {"name": "look", "NAME": None, "uri": "a://b"}
    assert message.tool is None  # in two spellings


def test_a_message_takes_no_more_memory_while_it_is_open_than_a_few_times_its_text() -> None:
    """Or a few calls of one user would take all that there is."""
    large = body(name="look", arguments=[{}] * 250_000)
    assert len(large) < LARGEST_MESSAGE
    tracemalloc.start()
    try:
        message = parse_message(large)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.tool == "look"
    assert kept < 3 * len(large)
