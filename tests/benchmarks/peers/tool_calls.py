"""Tool calls over HTTP: behind ours, and behind what other people made for the same work."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from tests.benchmarks import goals
from tests.benchmarks.bench import Bench
from tests.benchmarks.child import child
from tests.benchmarks.figures import Quantity, Row
from tests.benchmarks.load import Load
from tests.benchmarks.mcp_requests import MODERN, tool_call
from tests.benchmarks.noop_load import noop_load
from tests.benchmarks.noop_server import WITH_SDK, WITH_US
from tests.benchmarks.peers.environment import Peers
from tests.benchmarks.peers.serving import PATH
from tests.benchmarks.rounds import Contestant, run_rounds

if TYPE_CHECKING:
    from tests.benchmarks.peers.serving import ServedThere

_JUDGED: Final = "keyshield-sqlite-cached"
_SDK: Final = "sdk"
_QUICK: Final = {
    _JUDGED: ("keyshield, SQLite, cached", "keyshield on SQLite, cached, its delay off"),
    "mcphub": ("mcphub-server", "mcphub-server's key manager, which may be five minutes behind, SQLite"),
    _SDK: ("SDK, no-op verifier", "the SDK's own wiring, with a verifier that lets everything in"),
    "fastmcp-static": ("FastMCP's static tokens", "FastMCP's server with its StaticTokenVerifier"),
}
_SLOW: Final = {
    "keyshield-sqlite": ("keyshield, SQLite", "keyshield on SQLite, its delay off"),
    "fastmcp-guard": ("fastmcp-guard", "FastMCP's server with fastmcp-guard on SQLite"),
}


def peers_over_http(bench: Bench, peers: Peers) -> Sequence[Row]:
    """Around the same tool, except for FastMCP's, which has servers of its own. Those that prove each key each time
    take many seconds to answer all connections once, so there are fewer rounds of them.
    """
    fewer = replace(bench, effort=replace(bench.effort, rounds=bench.effort.long_rounds))
    return [*_compare("peers over HTTP", bench, peers, _QUICK), *_compare("slow peers over HTTP", fewer, peers, _SLOW)]


def _compare(title: str, bench: Bench, peers: Peers, labels: Mapping[str, tuple[str, str]]) -> Sequence[Row]:
    seconds, connections = bench.effort.seconds, bench.effort.connections
    with ExitStack() as stack:
        generator = stack.enter_context(child("tests.benchmarks.load_generator"))
        load = stack.enter_context(noop_load(str(bench.folder / f"{title}.db"), generator, users=connections))

        def behind(way: str) -> Contestant:
            if way == _SDK:
                return load.to(WITH_SDK, MODERN, seconds=seconds)
            bench.progress.show(f"{title}: starting {way}")
            folder = bench.folder / way
            folder.mkdir()
            program = child("tests.benchmarks.peers.serving", way, str(folder), interpreter=peers.python)
            there: ServedThere = stack.enter_context(program).hear()
            port = there["port"]
            calls = [
                tool_call(MODERN, port=port, path=PATH, key=key) for key in islice(cycle(there["keys"]), connections)
            ]
            return Load(generator, port).contestant(calls, seconds=seconds)

        contestants = {"ours": load.to(WITH_US, MODERN, seconds=seconds), **{way: behind(way) for way in labels}}
        rounds = run_rounds(title, bench, contestants)
    return [
        rounds.compare(
            f"tool call, {MODERN} JSON, SQLite",
            Quantity.RATE,
            "ours",
            way,
            compared_with=compared_with,
            goal=goals.TOOL_CALL_KEYSHIELD if way == _JUDGED else None,
            peer=label,
        )
        for way, (label, compared_with) in labels.items()
    ]
