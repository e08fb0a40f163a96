"""What an operator can set: by a flag, ``MCP_KEYS_<NAME>`` in the environment or ``<name>`` in a TOML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, SecretBytes, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mcp_keys_server.core.api_key import parse_tag
from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.field_rules import check_life, parse_user_id
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.setting_rules import (
    ExpandedPath,
    HeaderName,
    Hosts,
    Networks,
    Origins,
    PublicUrl,
    Uids,
    by_rule,
    expanded,
    is_root,
)
from mcp_keys_server.stores.opening import DEFAULT_CONNECTIONS
from mcp_keys_server.stores.postgres.url import PostgresUrl, is_url
from mcp_keys_server.stores.proof_secret import parse_secret
from mcp_keys_server.stores.redis_url import RedisUrl
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams

ENVIRONMENT_PREFIX = "MCP_KEYS_"
NOT_SETTINGS = frozenset({"MCP_KEYS_API_KEY", "MCP_KEYS_CONFIG"})
"""Variables that are ours and no settings: a credential, and where the file with the settings is."""
MOST_LIVE_KEYS = 100_000


def _path_or_url(value: str) -> str | PostgresUrl:
    return PostgresUrl(value) if is_url(value) else value


def _proof_secret(text: str) -> SecretBytes:
    return SecretBytes(parse_secret(text))


def _life(days: float) -> float:
    try:
        check_life(days)
    except InvalidFieldError as error:
        raise ValueError(error.rule) from None
    return days


UserId = Annotated[str, by_rule(parse_user_id)]
DaysOfAKey = Annotated[float, AfterValidator(_life)]
KeyTag = Annotated[str, by_rule(parse_tag)]


def _data_dir() -> Path:
    # Nobody else can enter root's home, and the programs are to run as somebody else.
    if is_root():
        return Path("/var/lib/mcp-keys-server")
    return platformdirs.user_data_path("mcp-keys-server", appauthor=False)


class SettingsError(Exception):
    """A setting is unknown or out of its range. The message names it and its rule, never its value."""


class Settings(BaseSettings):
    """All settings with their defaults. A flag wins over the environment, and that over the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )

    database: Annotated[Path | PostgresUrl, by_rule(_path_or_url)] = Field(
        default_factory=lambda: platformdirs.user_data_path("mcp-keys-server", appauthor=False) / "keys.db",
        description="The SQLite file, which is made, private to its user, when there is none; or the URL of a "
        "PostgreSQL database, postgresql://USER:PASSWORD@HOST/DATABASE.",
    )
    database_connections: int = Field(
        default=DEFAULT_CONNECTIONS,
        ge=1,
        le=1000,
        description="How many connections to PostgreSQL each process has at most, beside the one for look-ups.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 picks a free one.")
    public_url: PublicUrl | None = Field(
        default=None,
        description="How clients reach this server, for example https://keys.example.com. Printed configurations are "
        "made of it, and its host and origin are allowed. Without it: http://, the host (localhost where that is any "
        "address) and the port.",
    )
    allowed_hosts: Annotated[Hosts, NoDecode] = Field(
        default=(), description="More Host headers to answer, separated by commas; host:* for any port."
    )
    allowed_origins: Annotated[Origins, NoDecode] = Field(
        default=(), description="More web origins whose pages may call this server, separated by commas."
    )
    key_tag: KeyTag = Field(default="mhu_", description="What new keys start with. Keys with an earlier tag stay good.")
    bcrypt_cost: int = Field(
        default=12, ge=4, le=16, description="The work that a key hash takes; raised, keys are re-hashed on use."
    )
    proof_secret: Annotated[SecretBytes, by_rule(_proof_secret)] | None = Field(
        default=None,
        description="The secret of the proofs with which bcrypt runs once for each key and not once in each process: "
        "64 hexadecimal digits, the same for all replicas. Without it and its file: a file beside an SQLite database, "
        "which is made; on PostgreSQL none.",
    )
    proof_secret_file: ExpandedPath | None = Field(default=None, description="The file that holds these digits.")
    default_expiry_days: DaysOfAKey | None = Field(
        default=None,
        description="How long a new key lives when nothing else is asked. Without it: for ever, if that is allowed.",
    )
    max_expiry_days: DaysOfAKey | None = Field(
        default=None, description="How long a new key may live. Keys that were made before stay as they are."
    )
    max_live_keys_per_user: Annotated[int, Field(ge=1, le=MOST_LIVE_KEYS)] | None = Field(
        default=None, description="How many keys a user may have that are neither revoked nor expired."
    )
    secret_delivery: Literal["link", "file", "inline"] | None = Field(
        default=None,
        description="How create_key hands a new key over: link, a page that its owner opens; file, a private file on "
        "this machine; inline, in the tool's result, where the language model sees it. Without it: link over HTTP, "
        "file over standard input and output.",
    )
    claim_minutes: float = Field(
        default=15, gt=0, le=1440, description="How long the owner of a new key has to claim it on its page."
    )
    invitation_days: float = Field(default=7, gt=0, le=90, description="How long an invitation can be used.")
    calls_per_minute: int = Field(
        default=600,
        ge=1,
        le=10**9,
        description="Calls of one key, and its pages in one network.",
    )
    changes_per_hour: int = Field(
        default=600,
        ge=1,
        le=10**9,
        description="How many changes may be made to the keys of one user, by these keys and on the pages; a key can "
        "be revoked at any time.",
    )
    failures_per_minute: int = Field(
        default=60,
        ge=1,
        le=10**9,
        description="After how many requests with a bad key an address is told to wait; good keys are let in "
        "from there all the same.",
    )
    rate_limit_storage: Annotated[RedisUrl, by_rule(RedisUrl)] | None = Field(
        default=None,
        description="The Redis or Valkey server that counts calls and failures, exactly and for all replicas, "
        "redis://USER:PASSWORD@HOST:PORT/NUMBER. Without it, or while it does not answer: memory, added up in the "
        "database every second.",
    )
    trusted_proxy_addresses: Annotated[Networks, NoDecode] = Field(
        default=(),
        description="Reverse proxies, as addresses or networks (10.0.0.0/8), separated by commas, whose "
        "X-Forwarded-For is believed.",
    )
    trusted_user_header: HeaderName | None = Field(
        default=None,
        description="The header in which these proxies name the user whom they have signed in, by user id or e-mail. "
        "They must remove it from what comes in.",
    )
    first_user: UserId | None = Field(
        default=None,
        description="Whom to invite on a database in which nobody has a key yet. Without it: the name of the account "
        "that runs the program.",
    )
    print_key: bool = Field(
        default=False, description="Make that user's first key at once and print it, instead of an invitation."
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="How many processes serve, on one socket and one database.",
    )
    upstreams: Annotated[Mapping[str, AnyUpstream], NoDecode, BeforeValidator(parse_upstreams)] = Field(
        default={},
        description="The MCP servers behind aliases. They are described in tables of the file, nowhere else.",
    )
    upstream_data_dir: ExpandedPath = Field(
        default_factory=lambda: _data_dir() / "upstreams",
        description="Where the programs behind aliases keep what they write, each user's in a folder of its own.",
    )
    upstream_uids: Uids = Field(
        default="61184-65519",
        validate_default=True,
        description="When this program runs as root: the user ids under which these programs run, FIRST-LAST, one for "
        "each user of each alias; 'none': they run as root too.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged at the least. debug adds a line for every accepted request."
    )

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.trusted_user_header is not None and not self.trusted_proxy_addresses:
            raise ValueError("trusted_user_header: set trusted_proxy_addresses too, or nobody is believed")
        if self.proof_secret is not None and self.proof_secret_file is not None:
            raise ValueError("proof_secret: proof_secret_file is set too; leave one of them out")
        if KEYS_ALIAS in self.upstreams:
            raise ValueError(f"upstreams.{KEYS_ALIAS}: this alias is where keys are managed; take another name")
        if self.default_expiry_days and self.max_expiry_days and self.default_expiry_days > self.max_expiry_days:
            raise ValueError("default_expiry_days: no key may live longer than max_expiry_days")
        return self

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database")
    @classmethod
    def _absolute(cls, value: Path | PostgresUrl) -> Path | PostgresUrl:
        if isinstance(value, PostgresUrl):
            return value
        if value == Path():
            raise ValueError("the path of a file, or a URL that starts with postgresql://")
        return expanded(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # three places are enough
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
