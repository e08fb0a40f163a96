"""API keys for MCP, managed over MCP."""

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.errors import (
    InvalidApiKeyError,
    InvalidFieldError,
    KeyNotFoundError,
    McpKeysError,
    NotPermittedError,
    Refusal,
    StoreUnavailableError,
    TooBusyError,
    UnusableDatabaseError,
    UserExistsError,
    UserNotFoundError,
)
from mcp_keys_server.core.grant import Grant, RequestedGrant
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, KeyStatus, Principal, UserRecord
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.key_ring import KeyRing, open_key_ring

__version__ = "0.1.0"

__all__ = [
    "ApiKey",
    "Grant",
    "InvalidApiKeyError",
    "InvalidFieldError",
    "KeyManager",
    "KeyNotFoundError",
    "KeyRecord",
    "KeyRing",
    "KeyStatus",
    "KeyVerifier",
    "McpKeysError",
    "NotPermittedError",
    "Principal",
    "Refusal",
    "RequestedGrant",
    "StoreUnavailableError",
    "TooBusyError",
    "UnusableDatabaseError",
    "UserExistsError",
    "UserNotFoundError",
    "UserRecord",
    "open_key_ring",
]
