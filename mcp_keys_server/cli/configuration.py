"""The settings of a run, from flags, environment and file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from mcp_keys_server.cli.output import printable
from mcp_keys_server.settings import ENVIRONMENT_PREFIX, NOT_SETTINGS, Settings, SettingsError
from mcp_keys_server.upstreams import AnyUpstream


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings of a run come from, to be read again."""

    config: Path | None
    flags: Mapping[str, Any]

    def load(self) -> Settings:
        """
        Raises:
            SettingsError: One of them is unknown or cannot be used.
        """
        return load_settings(config=self.config, **self.flags)

    def load_to_serve(self) -> Settings:
        """Those with which upstreams are started and reached.

        Raises:
            SettingsError: One of them is unknown or cannot be used, or a variable that an upstream needs is not set.
        """
        settings = self.load()
        check_variables(settings.upstreams)
        return settings


def load_settings(*, config: Path | None = None, **flags: Any) -> Settings:  # noqa: ANN401 - judged here
    """The settings from the flags that were given (not None), the environment and the file.

    Raises:
        SettingsError: One of them is unknown or cannot be used.
    """
    _refuse_unknown_variables()
    if config is not None and not config.is_file():
        raise SettingsError(f"--config: {config} is not a file")

    class ConfiguredSettings(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        return ConfiguredSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        explained = (_explained(detail["loc"], detail["msg"]) for detail in error.errors())
        raise SettingsError("; ".join(explained)) from None
    except (ValueError, RecursionError) as error:  # of a number with too many digits, too
        raise SettingsError(f"--config: {config} is not TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"--config: {config} cannot be read: {error.strerror}") from None


def check_variables(upstreams: Mapping[str, AnyUpstream]) -> None:
    """
    Raises:
        SettingsError: One of them names a variable that is not set.
    """
    for alias, upstream in upstreams.items():
        for place, variable in upstream.missing_variables():
            raise SettingsError(
                f"upstreams.{alias}.{place}: ${{{variable}}}: there is no such variable in the environment of this "
                "program"
            )


def _refuse_unknown_variables() -> None:
    ours = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields} | NOT_SETTINGS
    # A name that is misspelt would otherwise leave its default in force without a word.
    for name in sorted(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ours and not name.startswith("MCP_KEYS_TEST_"):
            raise SettingsError(f"{name} in the environment is no setting; there are: {', '.join(sorted(ours))}")


def _explained(place: tuple[int | str, ...], message: str) -> str:
    rule = message.removeprefix("Value error, ")
    if not place:  # of several settings that do not go together
        return rule
    name = str(place[0])
    if name not in Settings.model_fields:
        return f"{printable(name)} is no setting"
    if name == "upstreams":  # which is a world of its own, and says itself where it is wrong
        return rule
    return f"{name} (or {ENVIRONMENT_PREFIX}{name.upper()}): {rule}"
