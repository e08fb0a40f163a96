"""Reverse proxies with the README's own configuration, each in a process and a folder of its own."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.embedding.processes import free_port, running, wait_until
from tests.embedding.readme_examples import example

_NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""
_TRAEFIK = """
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
providers: {{file: {{filename: {folder}/dynamic.yaml}}}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
"""
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_remove: [authorization, x-api-key]
              routes: [{{match: {{prefix: /}}, route: {{cluster: orders}}}}]
          http_filters:
{filter}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - {{name: keys, load_assignment: {{cluster_name: keys, endpoints: [{{lb_endpoints: [{{endpoint: {{address:
      {{socket_address: {{address: 127.0.0.1, port_value: {keys}}}}}}}}}]}}]}}}}
  - {{name: orders, load_assignment: {{cluster_name: orders, endpoints: [{{lb_endpoints: [{{endpoint: {{address:
      {{socket_address: {{address: 127.0.0.1, port_value: {orders}}}}}}}}}]}}]}}}}
"""


def program(name: str) -> str:
    """Where a proxy is; without one, the test that asks is skipped."""
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", beside_python]))
    if found is None:
        pytest.skip(f"there is no {name}; .ci/install-proxies installs it")
    return found


def _nginx(folder: Path, ports: Mapping[str, int]) -> list[str]:
    return nginx(folder, example("nginx", _addresses(ports, {"listen 8080": f"listen 127.0.0.1:{ports['listen']}"})))


def nginx(folder: Path, server: str) -> list[str]:
    """The command for an nginx with this server, its files in this folder."""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, server=server))
    return [program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, ports: Mapping[str, int]) -> list[str]:
    site = example("caddy", _addresses(ports, {":8080": f"http://127.0.0.1:{ports['listen']}"}))
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https off\n}}\n{site}")
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _traefik(folder: Path, ports: Mapping[str, int]) -> list[str]:
    (folder / "dynamic.yaml").write_text(example("traefik", _addresses(ports, {})))
    (folder / "traefik.yaml").write_text(_TRAEFIK.format(folder=folder, port=ports["listen"]))
    return [program("traefik"), f"--configfile={folder / 'traefik.yaml'}"]


def _envoy(folder: Path, ports: Mapping[str, int]) -> list[str]:
    filters = example("envoy", {"127.0.0.1:8000": f"127.0.0.1:{ports['keys']}"})
    indented = "".join(f"          {line}" for line in filters.splitlines(keepends=True))
    names = {"port": ports["listen"], "keys": ports["keys"], "orders": ports["orders"]}
    (folder / "envoy.yaml").write_text(_ENVOY.format(filter=indented, **names))
    return [program("envoy"), "--config-path", str(folder / "envoy.yaml"), "--base-id", str(ports["listen"])]


def _addresses(ports: Mapping[str, int], more: Mapping[str, str]) -> dict[str, str]:
    # The ports in place of those that the README says the two servers listen on.
    return {"127.0.0.1:8000": f"127.0.0.1:{ports['keys']}", "127.0.0.1:9000": f"127.0.0.1:{ports['orders']}", **more}


PROXIES: dict[str, Callable[[Path, Mapping[str, int]], list[str]]] = {
    "nginx": _nginx,
    "caddy": _caddy,
    "traefik": _traefik,
    "envoy": _envoy,
}


@contextmanager
def proxy(name: str, folder: Path, *, keys: int, orders: int) -> Iterator[str]:
    """The proxy before a server on the port ``orders``, asking the one on the port ``keys``; its own address."""
    folder.mkdir()
    port = free_port()
    command = PROXIES[name](folder, {"listen": port, "keys": keys, "orders": orders})
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    base_url = f"http://127.0.0.1:{port}"
    with running(command, folder, port=port, environment={**os.environ, **home}):
        # Traefik listens before it has read what it listens for.
        wait_until(lambda: httpx2.get(f"{base_url}/u/").status_code == 401, f"{name} does not ask")
        yield base_url
