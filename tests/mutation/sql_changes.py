"""What else a statement of SQL could be."""

import re
from collections.abc import Iterator

STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b .")
CONDITION = re.compile(r"\bAND\s+[^()]+?(?=\s+(?:AND|OR|ORDER|LIMIT|RETURNING|GROUP|FOR)\b|\s*\)|\s*$)")
WORDS = (
    (re.compile(r"\bAND\b"), "OR"),
    (re.compile(r"\bOR\b"), "AND"),
    (re.compile(r"(?<= )<(?= )"), "<="),
    (re.compile(r"(?<= )<=(?= )"), "<"),
    (re.compile(r"(?<= )>(?= )"), ">="),
    (re.compile(r"(?<= )>=(?= )"), ">"),
    (re.compile(r"(?<=WHERE )(\S+) =(?= )"), r"\1 <>"),
    (re.compile(r"(?<=AND )(\S+) =(?= )"), r"\1 <>"),
    (re.compile(r"\bIS NULL\b"), "IS NOT NULL"),
    (re.compile(r"\bIS NOT NULL\b"), "IS NULL"),
    (re.compile(r"\bNOT IN\b"), "IN"),
    (re.compile(r"\bDESC\b"), "ASC"),
    (re.compile(r"(?<= )\+(?= )"), "-"),
    (re.compile(r"\bFOR UPDATE\b"), ""),
)


def is_sql(text: str) -> bool:
    return STATEMENT.search(text) is not None


def sql_changes(text: str) -> Iterator[tuple[str, str]]:
    """A word that is another one, or a condition that is left out; each with its words."""
    for pattern, other in (*WORDS, (CONDITION, "")):
        for found in pattern.finditer(text):
            instead = found.expand(other)
            before, after = text[: found.start()], text[found.end() :]
            around = " ".join(f"{before[-20:]}[{found.group()} -> {instead}]{after[:20]}".split())
            yield around, f"{before}{instead}{after}"
