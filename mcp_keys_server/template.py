"""Text of the configuration file with places to fill."""

import re
from collections.abc import Iterator, Mapping

# Narrow enough that JSON in an argument has none of them.
_PLACE = re.compile(r"\$\{(?P<variable>[A-Za-z_][A-Za-z0-9_]*)\}|\{(?P<field>[a-z_]+)\}")


class Template:
    """Text with places to fill: ``{user_id}`` and the like for each user, ``${NAME}`` from the environment, at once.

    It may hold a secret of the operator's, so printing it shows nothing of it.
    """

    __slots__ = ("_parts", "missing")

    def __init__(self, text: str, *, fields: frozenset[str], environment: Mapping[str, str]) -> None:
        """
        Raises:
            ValueError: It has a field that there is not.
        """
        self.missing: tuple[str, ...] = tuple(
            variable for _, variable, _ in _pieces(text) if variable is not None and variable not in environment
        )
        """The variables that are not set, without which it must not be filled: most commands have no need of it, and
        may run where the secrets are not."""
        self._parts: tuple[tuple[str, str | None], ...] = tuple(
            (_literal(before, variable, environment), _field(name, fields)) for before, variable, name in _pieces(text)
        )

    def filled(self, **values: str) -> str:
        return "".join(literal + ("" if name is None else values[name]) for literal, name in self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return "Template(...)"


def _pieces(text: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Each stretch of plain text, with the variable or the field that follows it."""
    end = 0
    for found in _PLACE.finditer(text):
        yield text[end : found.start()], found["variable"], found["field"]
        end = found.end()
    yield text[end:], None, None


def _literal(before: str, variable: str | None, environment: Mapping[str, str]) -> str:
    return before if variable is None else before + environment.get(variable, "")


def _field(name: str | None, fields: frozenset[str]) -> str | None:
    if name is not None and name not in fields:
        known = ", ".join(f"{{{field}}}" for field in sorted(fields))
        raise ValueError(f"{{{name}}} is none of the fields that are filled here: {known}")
    return name
