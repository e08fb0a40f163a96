"""The mutants that no test can tell from the package, each with the reason."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

EXPLAINED = Path(__file__).with_name("survivors.toml")


def unexplained(
    outcomes: Mapping[tuple[str, str], str], *, only_some: bool, explained: Path = EXPLAINED
) -> Iterator[str]:
    """What is wrong, a sentence each: a mutant that lives without a reason, or a reason for none."""
    written = tomllib.loads(explained.read_text())
    reasons = {(module, name) for module, survivors in written.items() for name in survivors}
    for (module, name), outcome in sorted(outcomes.items()):
        if outcome == "broke down" or (outcome == "survived" and (module, name) not in reasons):
            yield f"{module}: it {outcome}: {name}"
    looked_at = {module for module, _ in outcomes}
    for module, name in sorted(reasons):
        if module in looked_at and outcomes.get((module, name), "" if only_some else "gone") not in ("survived", ""):
            yield f"{module}: it does not survive, or is not there: {name}"
