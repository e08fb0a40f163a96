import subprocess
import sys

SERVED = """
import gc, signal
import anyio
from starlette.applications import Starlette
from mcp_keys_server.server.http_service import listen, serve_http

def announce():
    print(gc.get_freeze_count() > 10_000, gc.get_threshold()[0] >= 10_000)
    signal.raise_signal(signal.SIGINT)

anyio.run(serve_http, Starlette(), listen("127.0.0.1", 0), announce)
"""


def test_a_server_lets_the_collector_go_through_little_and_seldom() -> None:
    told = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "True True\n"
