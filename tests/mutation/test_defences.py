"""What every defence of the README's table of threats is worth is known, and the harness tells what notices from what
does not. All of them are taken out by ``python -m tests.mutation.defences``.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutation.defences import ROOT, Change, Defence, hold, known

ROW = re.compile(r"^\| (\d+) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")
CHEAP = "the checksum is of no secret"


def of_the_table() -> set[tuple[int, str]]:
    """Each threat with each of its tests."""
    table = (ROOT / "README.md").read_text().partition("<!-- threats -->\n")[2].partition("<!-- /threats -->")[0]
    return {(int(number), test) for number, row in ROW.findall(table) for test in TEST.findall(row)}


def cheap() -> Defence:
    return next(it for it in known() if it.without == CHEAP)


def test_every_test_that_a_threat_names_notices_that_a_defence_is_gone_and_no_other_is_said_to() -> None:
    said = {(it.threat, test.partition("[")[0]) for it in known() for test in it.tests}
    assert sorted(said ^ of_the_table()) == []


@pytest.mark.parametrize("defence", known(), ids=lambda it: f"{it.threat} {it.without}")
def test_what_a_defence_consists_of_is_there_once_and_something_else_can_stand_there(defence: Defence) -> None:
    assert defence.tests
    for change in defence.changes:
        path = ROOT / "mcp_keys_server" / change.module
        text = path.read_text()
        assert text.count(change.was) == 1, change.module
        assert change.is_now != change.was
        if path.suffix == ".py":
            compile(text.replace(change.was, change.is_now), path, "exec")


def test_no_two_defences_have_the_same_name_and_the_readme_says_how_many_there_are() -> None:
    names = [(it.threat, it.without) for it in known()]
    assert len(set(names)) == len(names)
    said = re.search(r"`tests/mutation/defences.toml` lists, (\d+)\sin\sall", (ROOT / "README.md").read_text())
    assert said
    assert int(said[1]) == len(names)


def test_a_defence_that_is_gone_is_noticed_and_a_change_that_does_nothing_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (change,) = cheap().changes
    as_before = Change("core/api_key.py", was="RANDOM_BYTES = 32\n", is_now="RANDOM_BYTES = 32  # as before\n")
    nothing = replace(cheap(), without="nothing", changes=(as_before,))
    gone = replace(cheap(), without="what is gone", changes=(replace(change, was="what nobody wrote"),))
    assert hold([cheap(), nothing, gone]) == 2
    *lines, total = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["noticed", "not noticed", "the text is not there once"]
    assert total == "3 defences taken out, 2 times not noticed"


def test_a_test_that_does_not_pass_as_it_is_notices_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert hold([replace(cheap(), tests=(f"{Path(__file__).relative_to(ROOT)}::test_that_nobody_wrote",))]) == 1
    assert "test_that_nobody_wrote: the test does not pass without the change" in capsys.readouterr().out
