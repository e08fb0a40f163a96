"""Which slips are made, and that each is made where it says."""

from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.sql_changes import sql_changes

MODULE = '''
"""What it is for."""

MOST: Final = 3


class Guard:
    """What it does."""

    least: int = 1

    def lets_in(self, key: Key, now: float = 0.5) -> bool:
        """Whether it does."""
        if key.ends > now and not key.revoked:
            self.seen += 1
            self.log(f"{key.name} comes")
            self.said = "it comes as it should"
            return True
        raise KeyError("never")
'''
NAMES = [
    "MOST: 3 -> 4",
    "Guard.least: 1 -> 2",
    "Guard.lets_in: 0.5 -> 1.5",
    "Guard.lets_in: key.ends > now and (not key.revoked) -> key.ends > now or not key.revoked",
    "Guard.lets_in: key.ends > now and (not key.revoked) -> not key.revoked",
    "Guard.lets_in: key.ends > now and (not key.revoked) -> key.ends > now",
    "Guard.lets_in: key.ends > now and (not key.revoked) -> not (key.ends > now and (not key.revoked))",
    "Guard.lets_in: key.ends > now -> key.ends >= now",
    "Guard.lets_in: not key.revoked -> key.revoked",
    "Guard.lets_in: self.seen += 1 -> nothing",
    "Guard.lets_in: self.seen += 1 -> self.seen -= 1",
    "Guard.lets_in: 1 -> 2",
    "Guard.lets_in: self.log(f'{key.name} comes') -> nothing",
    "Guard.lets_in: self.said = 'it comes as it should' -> nothing",
    "Guard.lets_in: True -> False",
    "Guard.lets_in: raise KeyError('never') -> nothing",
]


@pytest.fixture
def mutants(tmp_path: Path) -> list[Mutant]:
    module = tmp_path / "guard.py"
    module.write_text(MODULE)
    return mutants_of(module)


def test_what_works_is_changed_and_what_is_only_read_is_not(mutants: list[Mutant]) -> None:
    assert [mutant.name for mutant in mutants] == NAMES


def test_what_is_in_no_function_counts_when_the_module_is_imported(mutants: list[Mutant]) -> None:
    assert [(it.name, it.concerns) for it in mutants if it.function is None] == [
        ("MOST: 3 -> 4", "MOST"),
        ("Guard.least: 1 -> 2", "least"),
        ("Guard.lets_in: 0.5 -> 1.5", "lets_in"),
    ]


def test_a_mutant_is_the_module_with_this_one_change(tmp_path: Path) -> None:
    module = tmp_path / "few.py"
    module.write_text("def few(number):\n    return number < 3\n")
    answers = {}
    for mutant in mutants_of(module):
        names: dict[str, object] = {}
        exec(mutant.code, names)  # noqa: S102 - it is what was written here
        few = names["few"]
        assert callable(few)
        answers[mutant.name] = [few(2), few(3), few(4)]
    assert answers == {
        "few: return number < 3 -> return None": [None, None, None],
        "few: number < 3 -> number <= 3": [True, True, False],
        "few: 3 -> 4": [True, True, False],
    }


def test_the_words_and_conditions_of_a_statement_are_changed() -> None:
    statement = "UPDATE keys SET ended = $1 WHERE key_id = $2 AND ended IS NULL"
    assert [changed for _, changed in sql_changes(statement)] == [
        "UPDATE keys SET ended = $1 WHERE key_id = $2 OR ended IS NULL",
        "UPDATE keys SET ended = $1 WHERE key_id <> $2 AND ended IS NULL",
        "UPDATE keys SET ended = $1 WHERE key_id = $2 AND ended IS NOT NULL",
        "UPDATE keys SET ended = $1 WHERE key_id = $2 ",
    ]
