"""Tries some parsers in turns, or all of them, on what atheris makes up, guided by which lines it reaches."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.parser import Parser


def _telling(parser: "Parser") -> Callable[[bytes], None]:
    def try_it(given: bytes) -> None:
        try:
            parser.try_it(given)
        except BaseException:
            sys.stderr.write(f"{parser.name} breaks on {given!r}\n")
            raise

    return try_it


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", help="Names of parsers, or 'all'.")
    parser.add_argument("--seconds", type=int, default=120, help="For each.")
    parser.add_argument("--corpus", type=Path, help="A folder in which what was found is kept and gone on from.")
    asked = parser.parse_args()
    import atheris  # of the extra 'lab', and of no use to anything else

    with atheris.instrument_imports(include=["mcp_keys_server"]):
        from tests.fuzz.parsers import parsers
    failed = []
    for chosen in (each for target in asked.targets for each in parsers(target)):
        with tempfile.TemporaryDirectory() as scratch:
            corpus = (asked.corpus or Path(scratch)) / chosen.name
            corpus.mkdir(parents=True, exist_ok=True)
            for number, seed in enumerate(chosen.seeds):
                (corpus / f"seed-{number}").write_bytes(seed)
            process = os.fork()
            if not process:
                options = [f"-max_total_time={asked.seconds}", "-max_len=4096", "-timeout=10", "-print_final_stats=1"]
                atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}-", str(corpus)], _telling(chosen))
                atheris.Fuzz()  # which ends the process
            _, status = os.waitpid(process, 0)
            sys.stdout.write(f"{chosen.name}: {'failed' if status else 'nothing found'}\n")
            failed += [chosen.name] if status else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
