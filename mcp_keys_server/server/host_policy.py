"""Which Host headers and web origins are answered: what keeps a web page from reaching a server on its visitor's
machine under a name of its own (DNS rebinding).
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecuritySettings

from mcp_keys_server.server.addresses import WILDCARDS, host_in_url, public_url
from mcp_keys_server.settings import Settings

# Always answered: a rebinding page can make a browser send any name as Host but these, and its own Origin with them.
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Hosts and origins as patterns: a plain one, or one with ``:*`` for any port."""

    public_url: str
    hosts: tuple[str, ...]
    origins: tuple[str, ...]

    def answers(self, host: str) -> bool:
        """Whether this Host header is one of ours."""
        name, _, port = host.rpartition(":")
        return host in self.hosts or (port.isdecimal() and port.isascii() and f"{name}:*" in self.hosts)

    def for_sdk(self) -> TransportSecuritySettings:
        return TransportSecuritySettings(allowed_hosts=list(self.hosts), allowed_origins=list(self.origins))

    def plain_origins(self) -> list[str]:
        return [origin for origin in self.origins if not origin.endswith(":*")]

    def origins_of_any_port(self) -> str:
        """The others, as a regular expression."""
        bases = [origin.removesuffix(":*") for origin in self.origins if origin.endswith(":*")]
        return "|".join(f"{re.escape(base)}:[0-9]+" for base in bases)


def host_policy(settings: Settings, *, port: int) -> HostPolicy:
    """The policy that follows from the settings, for a server that listens on this port."""
    url = public_url(settings, port=port)
    public = urlsplit(url)
    hosts = [public.netloc]
    if public.port is None:
        hosts.append(f"{public.netloc}:{443 if public.scheme == 'https' else 80}")
    if settings.host not in WILDCARDS:
        hosts.append(f"{host_in_url(settings.host)}:{port}")
    origins = [f"{public.scheme}://{public.netloc}"]
    for name in _LOOPBACK:
        hosts += [name, f"{name}:*"]
        origins += [f"http://{name}", f"http://{name}:*"]
    return HostPolicy(url, tuple(hosts) + settings.allowed_hosts, tuple(origins) + settings.allowed_origins)
