"""Everything that parses, by name: Hypothesis tries it in each run of the tests, atheris for as long as one likes."""

from tests.fuzz import configuration, keys, requests
from tests.fuzz.parser import Parser

PARSERS = {parser.name: parser for parser in (*keys.PARSERS, *requests.PARSERS, *configuration.PARSERS)}


def parsers(name: str) -> list[Parser]:
    """The one of this name, or ``all``."""
    return list(PARSERS.values()) if name == "all" else [PARSERS[name]]
