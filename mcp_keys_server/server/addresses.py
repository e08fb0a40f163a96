"""Where this server and its endpoints are reached."""

from mcp_keys_server.settings import Settings

WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def public_url(settings: Settings, *, port: int) -> str:
    """How clients reach a server with these settings that listens on this port."""
    reachable = "localhost" if settings.host in WILDCARDS else host_in_url(settings.host)
    return settings.public_url or f"http://{reachable}:{port}"


def host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def endpoint_path(user_id: str, alias: str) -> str:
    return f"/u/{user_id}/{alias}/mcp"


def claim_path(key_id: str) -> str:
    return f"/keys/{key_id}/claim"


def invitation_path(code: str) -> str:
    return f"/keys/invitation/{code}"
