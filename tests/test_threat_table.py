"""A table of threats is worth what its tests are: CI's check finds rows without any, and tests that are gone."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / ".ci" / "check-threats"
HERE = "tests/test_threat_table.py"

pytestmark = pytest.mark.skipif(not CHECK.is_file(), reason="needs the repository, not only the package")


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ((), "there is no table of threats"),
        (("| 1 | leaks | hashes | |",), "threat 1 names no test"),
        (("| 1 | leaks | hashes | ? |",), "threat 1 names no test"),
        (
            (f"| 1 | leaks | hashes | `{HERE}::test_that_is_gone` |",),
            f"threat 1 names {HERE}::test_that_is_gone, which is not there",
        ),
        (
            ("| 1 | leaks | hashes | `tests/test_gone.py::test_it` |",),
            "threat 1 names tests/test_gone.py::test_it, which is not there",
        ),
        (
            ("| 1 | leaks | hashes | `tests/world.py::test_open_world` |",),
            "threat 1 names tests/world.py::test_open_world, which is not there",
        ),
        (
            (f"| 1 | leaks | hashes | `{HERE}::test_a_table_that_lacks_nothing_is_good` and {HERE}::test_it |",),
            "threat 1 names something in another form than `tests/PATH.py::test_NAME`",
        ),
        (
            (f"| 2 | leaks | hashes | `{HERE}::test_a_table_that_lacks_nothing_is_good` |",),
            "threat 2 comes where 1 should",
        ),
    ],
)
def test_what_a_table_lacks_is_named(rows: tuple[str, ...], missing: str, tmp_path: Path) -> None:
    assert _check(tmp_path, *rows) == (1, f"{missing}\n")


def test_a_table_that_lacks_nothing_is_good(tmp_path: Path) -> None:
    here, elsewhere = (
        f"`{HERE}::test_what_a_table_lacks_is_named`",
        "`tests/core/test_api_key.py::test_keys_are_all_different`",
    )
    assert _check(tmp_path, f"| 1 | leaks | hashes | {here} |", f"| 2 | guesses | chance | {elsewhere}, {here} |") == (
        0,
        "",
    )


def test_a_test_that_is_named_anywhere_else_is_there_too(tmp_path: Path) -> None:
    row = f"| 1 | leaks | hashes | `{HERE}::test_what_a_table_lacks_is_named` |"
    code, said = _check(tmp_path, row, after=f"| 7.4 | `{HERE}::test_that_is_gone` |")
    assert (code, said) == (1, f"the README names {HERE}::test_that_is_gone, which is not there\n")


def _check(folder: Path, *rows: str, after: str = "") -> tuple[int, str]:
    """The exit code and what is said of a README with these rows."""
    readme = folder / "README.md"
    heading = "| # | threat | defence | tests |\n| --- | --- | --- | --- |\n"
    readme.write_text(
        "\n".join(
            (f"# It\n\n<!-- threats -->\n{heading}{rows[0] if rows else ''}", *rows[1:], f"<!-- /threats -->\n{after}")
        )
    )
    done = subprocess.run([sys.executable, CHECK, readme], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr
