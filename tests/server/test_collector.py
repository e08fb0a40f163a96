import subprocess
import sys

SERVED = """
import gc, signal
import anyio
from starlette.applications import Starlette
from mcp_keys_server.server.http_service import listen, serve_http

def announce():
    young, _, all_there_is = gc.get_threshold()
    print(gc.get_freeze_count() > 10_000, young <= 700, all_there_is >= 100)
    signal.raise_signal(signal.SIGINT)

anyio.run(serve_http, Starlette(), listen("127.0.0.1", 0), announce)
"""


def test_the_collector_of_a_server_goes_through_all_that_there_is_seldom_and_through_what_is_new_often() -> None:
    told = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "True True True\n"
