"""The runner at work on a few mutants, whose tests have to notice them, and that it tells where none does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_keys_server
from tests.mutation.survivors import unexplained

PACKAGE = Path(mcp_keys_server.__file__).parent
# What each would let in: a revoked key, one that nobody has, and one that does not fit its hash.
MUST_BE_NOTICED = (
    r"refusal is not None -> refusal is None|raise InvalidApiKeyError\(refusal.* -> nothing|"
    r"record is None -> record is not None|: not fits -> fits"
)
FEW = "sqlite and (revoked or nobody_has or good_key or leaked_checksum)"
"""Of the tests of the verifier, so that it does not take long."""


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As somebody would, and not as a part of what measures these tests."""
    of_others = ("PYTEST_", "COV", "MCP_KEYS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(of_others)}
    command = [sys.executable, "-m", "tests.mutation", *arguments]
    return subprocess.run(
        command, cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def test_what_would_let_anybody_in_is_noticed() -> None:
    tests = ("--tests", "tests/core/test_verifier.py", "--keyword", FEW)
    done = _run(PACKAGE / "core" / "verifier.py", *tests, "--match", MUST_BE_NOTICED)
    assert done.returncode == 0, done.stdout + done.stderr
    (noticed,) = re.findall(r"^4 mutants: (\d) killed", done.stdout, re.MULTILINE)
    assert int(noticed) > 0  # the others perhaps hang on a machine that is busy, which is noticed too


def test_what_no_test_notices_is_told(tmp_path: Path) -> None:
    """With tests that have nothing to do with it."""
    few = ("--tests", "tests/core/test_proven_facts.py", "--match", "refusal is not None|_PROOF_BYTES", "--jobs", "1")
    done = _run(PACKAGE / "core" / "verifier.py", PACKAGE / "core" / "proofs.py", *few, "--out", tmp_path / "told")
    assert done.returncode == 1, done.stderr
    assert "core/verifier.py: it survived: KeyVerifier._live: refusal is not None -> refusal is None" in done.stdout
    assert "core/proofs.py: it survived: _PROOF_BYTES: " in done.stdout
    assert '"survived"' in (tmp_path / "told").read_text()


def test_only_what_counts_at_import_is_tried_where_that_is_asked_for(tmp_path: Path) -> None:
    few = ("--tests", "tests/core/test_proven_facts.py", "--match", "^MOST_WAITING|Proofs.hold: ")
    _run(PACKAGE / "core" / "proofs.py", *few, "--only-anew", "--out", tmp_path / "told")
    assert {name.partition(":")[0] for _, name, _ in json.loads((tmp_path / "told").read_text())} == {"MOST_WAITING"}


OUTCOMES = {("a.py", "x"): "survived", ("a.py", "y"): "killed", ("b.py", "z"): "broke down"}


@pytest.mark.parametrize(
    ("reasons", "only_some", "wrong"),
    [
        ("", False, ["a.py: it survived: x", "b.py: it broke down: z"]),
        ('["a.py"]\nx = "because"', False, ["b.py: it broke down: z"]),
        (
            '["a.py"]\nx = "because"\ny = "because"\ngone = "because"\n["c.py"]\nx = "because"',
            False,
            [
                "b.py: it broke down: z",
                "a.py: it does not survive, or is not there: gone",
                "a.py: it does not survive, or is not there: y",
            ],
        ),
        ('["a.py"]\nx = "because"\ngone = "because"', True, ["b.py: it broke down: z"]),
    ],
)
def test_who_survives_needs_a_reason_and_no_one_else_has_one(
    reasons: str,
    only_some: bool,  # noqa: FBT001 - a parameter of the test
    wrong: list[str],
    tmp_path: Path,
) -> None:
    explained = tmp_path / "survivors.toml"
    explained.write_text(reasons)
    assert list(unexplained(OUTCOMES, only_some=only_some, explained=explained)) == wrong
