"""Runs of the program, and what a test asks of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was printed
        assert self.code == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Done]


def created(run: Run, *more: str) -> Any:  # noqa: ANN401 - what was printed
    return run("keys", "create", "--user", "ada", "--name", "Laptop", "--json", *more).json


def listed(run: Run, *filters: str) -> list[str]:
    """The key ids that these filters find, in order."""
    return [key["key_id"] for key in run("keys", "list", "--json", *filters).json]
