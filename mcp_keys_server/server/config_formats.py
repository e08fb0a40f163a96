"""The formats of configurations, written so that they are read back whatever the values hold."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping

Value = str | tuple[str, ...] | Mapping[str, str]
Entry = Mapping[str, Value]

_PLAIN_IN_DOUBLE_QUOTES = re.compile(r"[A-Za-z0-9 :/._=@+,-]+")
_NOT_PRINTABLE_ASCII = re.compile(r"[^ -~]")


def json_text(section: str, name: str, entry: Entry) -> str:
    return json.dumps({section: {name: entry}}, indent=2)


def toml_text(section: str, name: str, entry: Entry) -> str:
    return "\n".join([f"[{section}.{name}]", *(f"{field} = {_in_toml(value)}" for field, value in entry.items())])


def yaml_text(section: str, name: str, entry: Entry) -> str:
    # The name is quoted, because an alias may be 'no' or '10', which are no strings in YAML.
    lines = [f"{section}:", f"  {_quoted(name)}:"]
    for field, value in entry.items():
        if isinstance(value, Mapping):
            lines += [f"    {field}:", *(f"      {key}: {_quoted(text)}" for key, text in value.items())]
        else:
            lines.append(f"    {field}: {_quoted_all(value)}")
    return "\n".join(lines)


def shell_text(words: Iterable[str]) -> str:
    return " ".join(map(_in_shell, words))


def _in_toml(value: Value) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_quoted(text)}' for key, text in value.items())} }}"
    return _quoted_all(value)


def _quoted_all(value: str | tuple[str, ...]) -> str:
    """A string or a list of them, which TOML and YAML write alike."""
    return _quoted(value) if isinstance(value, str) else f"[{', '.join(map(_quoted, value))}]"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's and YAML's too, except for pairs of surrogates; and ASCII outlasts any redirection.
    as_in_json = json.dumps(text, ensure_ascii=False)
    return _NOT_PRINTABLE_ASCII.sub(lambda character: f"\\U{ord(character[0]):08x}", as_in_json)


def _in_shell(word: str) -> str:
    quoted = shlex.quote(word)
    # Double quotes where nothing between them means anything to any shell: cmd.exe on Windows knows no others.
    return f'"{word}"' if quoted != word and _PLAIN_IN_DOUBLE_QUOTES.fullmatch(word) else quoted
