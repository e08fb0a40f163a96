"""The MCP servers that the operator puts behind aliases, as the configuration file names them."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.field_rules import check_scopes, parse_alias
from mcp_keys_server.template import Template

MEGABYTE: Final = 1024 * 1024
# Where programs are and how they speak; of all else, a program is told what the operator's file says.
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_TOOL_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What the connection itself says, or what the gateway makes of each request.
_OUR_HEADERS = re.compile(r"host|connection|content-.*|transfer-encoding|te|trailer|upgrade|accept.*|mcp-.*|cookie")


_OF_PROGRAMS = frozenset({"user_id", "alias", "data_dir"})
_OF_REQUESTS = frozenset({"user_id", "alias", "key_id"})


def _template(fields: frozenset[str]) -> BeforeValidator:
    def parse(value: object) -> object:
        return Template(value, fields=fields, environment=os.environ) if isinstance(value, str) else value

    return BeforeValidator(parse)


def _sendable(template: Template) -> Template:
    """In a header; of what is not ASCII, only the one who gets it knows."""
    if not template.missing and _CONTROL.search(template.filled(**dict.fromkeys(_OF_REQUESTS, "a"))):
        raise ValueError("a value without line breaks and other control characters, at its end too")
    return template


def _passable(template: Template) -> Template:
    """To a program."""
    if not template.missing and "\0" in template.filled(**dict.fromkeys(_OF_PROGRAMS, "a")):
        raise ValueError("text without the character NUL")
    return template


ProgramTemplate = Annotated[Template, _template(_OF_PROGRAMS), AfterValidator(_passable)]
RequestTemplate = Annotated[Template, _template(_OF_REQUESTS)]
HeaderTemplate = Annotated[RequestTemplate, AfterValidator(_sendable)]
ToolPattern = Annotated[str, Field(pattern=_TOOL_PATTERN.pattern.join(("^", "$")))]


class Upstream(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    allow: tuple[ToolPattern, ...] | None = Field(
        default=None, description="The tools that are let through, also with '*'. Without it: all."
    )
    required_scopes: frozenset[str] = Field(default=frozenset(), description="What a key needs to come in.")
    pin_descriptions: bool = Field(
        default=False, description="Whether a tool that is not as it was first seen is held back."
    )
    calls_at_once: int = Field(default=32, ge=1, le=10_000, description="How many calls one user may have open.")
    call_seconds: float = Field(
        default=300, gt=0, le=86_400, description="After so long without a sign of life a call is given up."
    )

    def missing_variables(self) -> Iterator[tuple[str, str]]:
        """Where a variable is named that the environment does not have, and its name."""
        for field in type(self).model_fields:
            for place, template in _templates(field, getattr(self, field)):
                for variable in template.missing:
                    yield place, variable

    @field_validator("required_scopes")
    @classmethod
    def _by_the_rule(cls, value: frozenset[str]) -> frozenset[str]:
        try:
            check_scopes(value)
        except InvalidFieldError as error:
            raise ValueError(error.rule) from None
        return value


def _templates(place: str, value: object) -> Iterator[tuple[str, Template]]:
    if isinstance(value, Template):
        yield place, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _templates(f"{place}.{name}", each)
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from _templates(f"{place}.{number}", each)


class ProgramUpstream(Upstream):
    """A program on this machine that speaks over standard input and output; each user has a process of their own."""

    command: tuple[ProgramTemplate, ...] = Field(min_length=1, description="The program and its arguments.")
    env: Mapping[str, ProgramTemplate] = Field(
        default={}, description="Its environment, beside PATH, HOME, TMPDIR, LANG, LC_ALL and TZ."
    )
    protocol: Literal["2025-11-25", "2026-07-28"] = Field(
        default="2025-11-25",
        description="The version that is spoken with it if it speaks both. In the earlier one it can ask the user "
        "something in the middle of a call in the way that most programs do.",
    )
    start_seconds: float = Field(default=60, gt=0, le=3600, description="How long it may take to start.")
    idle_seconds: float = Field(default=600, gt=0, le=86_400, description="After so long without a call it is stopped.")
    max_processes: int = Field(default=100, ge=1, le=10_000, description="How many may run at once, for all users.")
    max_memory_mb: int = Field(default=1024, ge=16, le=1_048_576, description="What one, with its children, may use.")
    max_line_mb: int = Field(default=4, ge=1, le=1024, description="How long one message of it may be.")

    def environment(self, folder: str, **fields: str) -> dict[str, str]:
        """All of it for a process with this working folder."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        own = {name: template.filled(**fields) for name, template in self.env.items()}
        return {**inherited, "HOME": folder, "TMPDIR": folder, **own}

    @field_validator("env")
    @classmethod
    def _names_only(cls, value: Mapping[str, Template]) -> Mapping[str, Template]:
        if not all(_VARIABLE_NAME.fullmatch(name) for name in value):
            raise ValueError("names of environment variables: letters, digits and '_'")
        return value


class RemoteUpstream(Upstream):
    """A server that speaks streamable HTTP."""

    url: RequestTemplate = Field(description="Where it is. Of it, only the path may have fields.")
    headers: Mapping[str, HeaderTemplate] = Field(default={}, description="What is sent to it with each request.")
    allow_private: bool = Field(default=False, description="Whether it may be at a private or local address.")

    @field_validator("url")
    @classmethod
    def _http_only(cls, value: Template) -> Template:
        if value.missing:  # nothing is reached with it
            return value
        parts = _split_url(value.filled(**dict.fromkeys(_OF_REQUESTS, "a")))
        if parts.netloc != _split_url(value.filled(**dict.fromkeys(_OF_REQUESTS, "b"))).netloc:
            raise ValueError("fields may stand in the path only")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("an address that starts with http:// or https://, without user and password")
        if parts.fragment:
            raise ValueError("an address without '#'")
        return value

    @field_validator("headers")
    @classmethod
    def _fields_only(cls, value: Mapping[str, Template]) -> Mapping[str, Template]:
        for name in value:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("names of HTTP headers")
            if _OUR_HEADERS.fullmatch(name.lower()):
                raise ValueError(f"{name} is set by the gateway itself")
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("each header once")
        return value


def _split_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - which is read late and then raises
    except ValueError:
        raise ValueError("this is no address") from None
    return parts


AnyUpstream = ProgramUpstream | RemoteUpstream


def parse_upstreams(value: object) -> object:
    """What the tables ``[upstreams.ALIAS]`` of the file describe.

    Raises:
        ValueError: It is no such table, or an alias breaks its rule.
        ValidationError: An upstream is described wrongly.
    """
    if not isinstance(value, Mapping):
        raise ValueError("upstreams: they are tables of the configuration file, [upstreams.ALIAS]")  # noqa: TRY004 - pydantic's way
    return {_alias(alias): _upstream(alias, described) for alias, described in value.items()}


def _alias(alias: str) -> str:
    try:
        return parse_alias(alias)
    except InvalidFieldError as error:
        raise ValueError(f"upstreams: the alias of each is {error.rule}") from None


def _upstream(alias: str, described: object) -> object:
    if isinstance(described, Upstream):
        return described
    if not isinstance(described, Mapping) or ("command" in described) == ("url" in described):
        raise ValueError(f"upstreams.{alias}: give either 'command', for a program on this machine, or 'url'")
    kind = ProgramUpstream if "command" in described else RemoteUpstream
    try:
        return kind.model_validate(described)
    except ValidationError as error:
        raise ValueError(f"upstreams.{alias}.{_explained(error)}") from None


_RULES: Final = {
    "extra_forbidden": "there is no such field",
    "is_instance_of": "text, in quotes",
    "tuple_type": "a list, in brackets",
    "frozen_set_type": "a list, in brackets",
    "mapping_type": "a table, in braces",
}
"""What pydantic says in words of Python."""


def _explained(error: ValidationError) -> str:
    """The first thing that is wrong, and where; nothing of what stands there, which may be a secret."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    rule = _RULES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"{place}: {rule}"
