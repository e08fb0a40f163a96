"""What every part of the benchmark gets to work with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.progress import Progress


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. As it is here, a whole run takes some minutes."""

    bcrypt_cost: int = 12
    rounds: int = 15
    calls: int = 20_000
    """In this process, in each round."""
    seconds: float = 1.0
    """Of requests over HTTP, in each round."""
    connections: int = 16
    hop_seconds: float = 0.4
    """Of tool calls, in each round, where there are very many contestants."""
    peer_seconds: float = 0.2
    """Of verifications by what is compared with, in each round."""
    usage_seconds: float = 2.2
    """Of tool calls, in each round, of which one write of uses and another are further apart."""
    storm_cost: int = 10
    """Of bcrypt, where keys are proven one after the other for a while."""
    storm_seconds: float = 2.0
    long_rounds: int = 3
    """Where one takes many seconds."""
    cold_users: int = 5_000
    few_keys: int = 1_000
    many_keys: int = 1_000_000
    remembered_keys: int = 100_000
    """Proven ones: as many as a process remembers at the most by default."""


SHORT: Final = Effort(rounds=7, calls=5_000, seconds=0.5)
"""Less of everything, for CI."""


@dataclass(frozen=True, slots=True)
class Bench:
    effort: Effort
    folder: Path
    """Empty, and private to the part."""
    progress: Progress
