"""The parts of the benchmark by name, and a run through some of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.bench import Bench, Effort
from tests.benchmarks.figures import Row
from tests.benchmarks.hops import gateway
from tests.benchmarks.lookups import lookups
from tests.benchmarks.peers.environment import Peers
from tests.benchmarks.peers.tool_calls import peers_over_http
from tests.benchmarks.peers.verification import peers_in_process
from tests.benchmarks.products import serve, workers
from tests.benchmarks.progress import Progress
from tests.benchmarks.refusals import refusals
from tests.benchmarks.restart import restart
from tests.benchmarks.start import stdio
from tests.benchmarks.storm import storm
from tests.benchmarks.tool_calls import http
from tests.benchmarks.usage import usage
from tests.benchmarks.verification import cold, forged, warm

Part = Callable[[Bench], Sequence[Row]]
PeerPart = Callable[[Bench, Peers], Sequence[Row]]

PARTS: Final[Mapping[str, Part]] = {
    "warm": warm,
    "cold": cold,
    "forged": forged,
    "http": http,
    "usage": usage,
    "refusals": refusals,
    "storm": storm,
    "restart": restart,
    "serve": serve,
    "workers": workers,
    "stdio": stdio,
    "gateway": gateway,
    "lookups": lookups,
}

PEER_PARTS: Final[Mapping[str, PeerPart]] = {
    "peers": peers_in_process,
    "peers-http": peers_over_http,
}
"""Those that compare with what other people made."""


def measure(
    names: Sequence[str], effort: Effort, folder: Path, progress: Progress, peers: Peers | None
) -> Sequence[Row]:
    """The rows of these parts, which keep what they need in the folder; without peers, none of those that need them."""
    rows: list[Row] = []
    for name in names:
        part_folder = folder / name
        part_folder.mkdir(mode=0o700)
        bench = Bench(effort, part_folder, progress)
        if name in PARTS:
            rows += PARTS[name](bench)
        elif peers is not None:
            rows += PEER_PARTS[name](bench, peers)
    progress.clear()
    return rows
