"""The parts of the benchmark by name, and a run through some of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.benchmarks.bench import Bench, Effort
from tests.benchmarks.creation import creation
from tests.benchmarks.figures import Row
from tests.benchmarks.hops import gateway
from tests.benchmarks.lookups import lookups
from tests.benchmarks.memory import memory
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
from tests.benchmarks.warm_postgres import warm_postgres

Part = Callable[[Bench], Sequence[Row]]
PeerPart = Callable[[Bench, Peers], Sequence[Row]]

PARTS: Final[Mapping[str, Part]] = {
    "warm": warm,
    "warm-postgres": warm_postgres,
    "cold": cold,
    "forged": forged,
    "creation": creation,
    "memory": memory,
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

CHECKED: Final = ("warm", "warm-postgres", "cold", "creation", "http", "refusals")
"""The short form: those that need nothing but the product, and take less than a minute each."""


def measure(name: str, effort: Effort, folder: Path, progress: Progress, peers: Peers | None) -> Sequence[Row]:
    """The rows of this part, which keeps what it needs in the folder; without peers, none of one that needs them."""
    bench = Bench(effort, Path(mkdtemp(prefix=f"{name}-", dir=folder)), progress)
    rows: Sequence[Row] = []
    if name in PARTS:
        rows = PARTS[name](bench)
    elif peers is not None:
        rows = PEER_PARTS[name](bench, peers)
    progress.part_is_done()
    return rows
