"""A program that the SDK serves as it comes, without authentication, with one of our tools: ``client_config``, which
reads no database and does here what it does with us. Its argument is where its address is written as JSON; it stops
when its standard input ends, and what the SDK logs goes to standard error and output.
"""

import socket
import sys
from typing import Final

from mcp.server import MCPServer

from mcp_keys_server.server.client_config import Client, Endpoint, snippet
from mcp_keys_server.server.tool_results import ClientConfig
from tests.benchmarks.stopping import stop_with_standard_input
